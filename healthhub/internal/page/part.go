// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"errors"
	"net/http"
	"strings"
	"sync"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
)

// maxParts bounds how many answers about single parts a generation keeps. What is asked for beyond them is made for each request.
const maxParts = 1024

// parts are the documents about single nodes, by how they were asked for.
type parts struct {
	mu   sync.Mutex // guards made
	made map[string]*document
}

// part gives the document of that key, from draw if it is not there yet.
func (d *drawing) part(key string, contentType []string, draw func(Snapshot) []byte) *document {
	p := &d.parts
	p.mu.Lock()
	defer p.mu.Unlock()
	doc := p.made[key]
	if doc == nil {
		doc = d.document(contentType, draw)
		if p.made == nil {
			p.made = map[string]*document{}
		}
		if len(p.made) < maxParts {
			p.made[key] = doc
		}
	}
	return doc
}

// find answers the request itself where the path names nothing, or more than one thing. The name of the root is the root's
// path too.
func (d *drawing) find(w http.ResponseWriter, path string) []*health.Node {
	chain, err := d.Node.Find(path)
	switch {
	case err == nil:
		return chain
	case path == d.Node.Name && errors.Is(err, health.ErrNotFound):
		return []*health.Node{d.Node}
	case errors.Is(err, health.ErrNotFound):
		http.Error(w, err.Error(), http.StatusNotFound)
	default:
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return nil
}

// serveHealth is /health/<path>.
func (p *Page) serveHealth(w http.ResponseWriter, r *http.Request) {
	consul, ok := compat(w, r)
	if !ok {
		return
	}
	d, path := p.draw(), r.PathValue("path")
	if chain := d.find(w, path); chain != nil {
		doc := d.part("/health/"+path, healthJSON, func(Snapshot) []byte { return healthDocument(chain) })
		d.serve(w, r, doc, code(rollup.Judge(chain[len(chain)-1], rollup.Ready), consul))
	}
}

// servePart is /v1/summary/<path>.
func (p *Page) servePart(w http.ResponseWriter, r *http.Request) {
	d, path := p.draw(), r.PathValue("path")
	if chain := d.find(w, path); chain != nil {
		doc := d.part("/v1/summary/"+path, jsonText, func(s Snapshot) []byte { return partDocument(s, chain) })
		d.serve(w, r, doc, http.StatusOK)
	}
}

// serveBadge is /badge/<path>.svg.
func (p *Page) serveBadge(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutSuffix(r.PathValue("path"), ".svg")
	if !ok {
		http.Error(w, "a badge is /badge/<path>.svg", http.StatusNotFound)
		return
	}
	d := p.draw()
	if chain := d.find(w, path); chain != nil {
		doc := d.part("/badge/"+path, svgImage, func(Snapshot) []byte { return badge(chain[len(chain)-1]) })
		w.Header()["Content-Security-Policy"] = nothingAtAll // an image opened by itself is a document
		d.serve(w, r, doc, http.StatusOK)
	}
}
