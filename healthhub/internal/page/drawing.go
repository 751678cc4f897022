// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"cloud4.internal/hub/healthhub/internal/repeat"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/openmetrics"
)

// Values of headers, shared by all answers: a header set this way is not allocated anew for each. Nobody changes them.
var (
	plainText      = []string{"text/plain; charset=utf-8"}
	jsonText       = []string{"application/json"}
	healthJSON     = []string{"application/health+json"}
	openMetrics    = []string{openmetrics.ContentType}
	plainMetrics   = []string{openmetrics.PlainType}
	noStore        = []string{"no-store"}
	noCache        = []string{"no-cache"}
	noSniff        = []string{"nosniff"}
	acceptEncoding = []string{"Accept-Encoding"}
	acceptBoth     = []string{"Accept, Accept-Encoding"}
	gzipCoding     = []string{"gzip"}
	svgImage       = []string{"image/svg+xml"}
	eventStream    = []string{"text/event-stream"}
	nothingAtAll   = []string{"default-src 'none'"}
)

// drawing is a snapshot and what was made of it so far.
type drawing struct {
	Snapshot
	tags                  tags
	live, ready, started  health.State
	health, summary, tree *document
	metrics, plainMetrics *document
	parts                 parts
	newest                func() bool // there is no later generation
}

func newDrawing(s Snapshot, boot string) *drawing {
	d := &drawing{
		Snapshot: s, tags: newTags(boot, s.Generation, ""),
		live: rollup.Judge(s.Node, rollup.Live), ready: rollup.Judge(s.Node, rollup.Ready), started: rollup.Judge(s.Node, rollup.Started),
	}
	d.health = d.document(healthJSON, func(s Snapshot) []byte { return healthDocument([]*health.Node{s.Node}) })
	d.summary = d.document(jsonText, summaryDocument)
	d.tree = d.document(jsonText, treeDocument)
	d.metrics = d.document(openMetrics, func(s Snapshot) []byte { return metricsDocument(s, false) })
	d.plainMetrics = d.document(plainMetrics, func(s Snapshot) []byte { return metricsDocument(s, true) })
	d.metrics.vary, d.plainMetrics.vary = acceptBoth, acceptBoth
	d.plainMetrics.tags = newTags(boot, s.Generation, "-plain")
	return d
}

// tags are ETags. Another form of a document is another representation, and so is another coding (RFC 9110 §8.8.3.3).
type tags struct{ plain, packed []string }

func newTags(boot string, generation uint64, form string) tags {
	tag := `"` + boot + "-" + strconv.FormatUint(generation, 10) + form
	return tags{[]string{tag + `"`}, []string{tag + `-gzip"`}}
}

// document is one answer of a drawing: made when the first reader comes, packed when the first one comes that wants it so. What
// cannot be made panics for each of them: never is an empty body a 200.
type document struct {
	contentType, vary []string
	tags              tags
	plain, packed     func() body
}

func (d *drawing) document(contentType []string, draw func(Snapshot) []byte) *document {
	doc := &document{contentType: contentType, vary: acceptEncoding, tags: d.tags}
	doc.plain = sync.OnceValue(func() body { return newBody(draw(d.Snapshot)) })
	doc.packed = sync.OnceValue(func() body { return newBody(compress(doc.plain().bytes)) })
	return doc
}

// body is the bytes of an answer, and their number as the value of a header.
type body struct {
	bytes  []byte
	length []string
}

func newBody(data []byte) body { return body{data, []string{strconv.Itoa(len(data))}} }

// serve sends a document, or 304 if the reader has it. Anything but 200 is always sent whole: its readers look at the status.
func (d *drawing) serve(w http.ResponseWriter, r *http.Request, doc *document, code int) {
	b := doc.plain()
	packed := len(b.bytes) >= compressFrom && acceptsGzip(r)
	h := w.Header()
	h["Content-Type"] = doc.contentType
	h["Cache-Control"] = noCache
	h["X-Content-Type-Options"] = noSniff
	h["Vary"] = doc.vary
	h["Etag"] = doc.tags.plain
	if packed {
		h["Etag"] = doc.tags.packed
	}
	if code == http.StatusOK && matches(r.Header.Get("If-None-Match"), doc.tags.plain[0], doc.tags.packed[0]) {
		repeat.Allow(r, nil, d.newest)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if packed {
		b = doc.packed()
		h["Content-Encoding"] = gzipCoding
	}
	h["Content-Length"] = b.length
	repeat.Allow(r, b.bytes, d.newest)
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		w.Write(b.bytes)
	}
}

// compressFrom is the size from which compressing, once for all readers, pays: what is smaller is sent with one write anyway.
const compressFrom = 4 << 10

// Send sends a body that is made for one reader, packed where that pays and the reader knows how.
func Send(w http.ResponseWriter, r *http.Request, code int, data []byte) {
	h := w.Header()
	h["Vary"] = acceptEncoding
	if len(data) >= compressFrom && acceptsGzip(r) {
		data = compress(data)
		h["Content-Encoding"] = gzipCoding
	}
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		w.Write(data)
	}
}

// packers keep what packing works in: most of a megabyte.
var packers = sync.Pool{New: func() any {
	// The level is a constant, and a buffer takes everything: neither can go wrong.
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	return z
}}

func compress(data []byte) []byte {
	z := packers.Get().(*gzip.Writer)
	defer packers.Put(z)
	var out bytes.Buffer
	z.Reset(&out)
	z.Write(data)
	z.Close()
	return out.Bytes()
}

// acceptsGzip reads Accept-Encoding (RFC 9110 §12.5.3): gzip or anything, unless with weight 0.
func acceptsGzip(r *http.Request) bool {
	accepted := false
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		coding, weight, _ := strings.Cut(part, ";")
		coding = strings.TrimSpace(coding)
		if named := strings.EqualFold(coding, "gzip"); named || coding == "*" {
			wanted := strings.Trim(strings.TrimPrefix(strings.ReplaceAll(weight, " ", ""), "q="), "0.") != "" || weight == ""
			if named {
				return wanted
			}
			accepted = wanted
		}
	}
	return accepted
}
