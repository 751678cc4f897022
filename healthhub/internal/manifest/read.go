// SPDX-License-Identifier: AGPL-3.0-or-later

package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/spiffe"
)

const (
	maxFileBytes = 1 << 20
	placement    = "host.json" // in a configuration tree, below hosts/<host>/
)

// document is a file of what should be there: a list, or a host's placement.
type document struct {
	Schema     int                  `json:"schema" default:"1" min:"1"`
	Containers map[string]Container `json:"containers" max:"1000"`
	Hosts      map[string]Host      `json:"hosts" max:"10000"`
	Stacks     map[string]stack     `json:"stacks"`

	self spiffe.ID
}

// stack is one of a placement: confighub's hosts/<host>/host.json.
type stack struct {
	Services []string `json:"services"`
}

// Read reads what a docker host or genesis/health, self, is to expect: from a file, or from the configuration tree in
// a directory. The error is hubfile.Problems where lines are wrong.
func Read(path string, self spiffe.ID) (*List, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading what is expected: %w", err)
	}
	if !info.IsDir() {
		return readFile(path, self)
	}
	if self.Role == spiffe.Host {
		return readFile(filepath.Join(path, "hosts", self.Host, placement), self)
	}
	return readHosts(filepath.Join(path, "hosts"))
}

// readHosts makes the fleet of a tree: every host of which it has a placement.
func readHosts(dir string) (*List, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*", placement))
	if err != nil { // the pattern holds what is in dir
		return nil, fmt.Errorf("reading what is expected: %s: %w", dir, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("reading what is expected: no file %s: is this the root of a configuration tree?", filepath.Join(dir, "<host>", placement))
	}
	list := &List{Hosts: map[string]Host{}}
	for _, file := range found {
		host := filepath.Base(filepath.Dir(file))
		if err := spiffe.CheckLabel(host); err != nil {
			return nil, fmt.Errorf("reading what is expected: %s: %w", file, err)
		}
		list.Hosts[host] = Host{Criticality: criticality}
	}
	if len(list.Hosts) > maxHosts {
		return nil, fmt.Errorf("reading what is expected: %s: %d hosts, more than %d", dir, len(list.Hosts), maxHosts)
	}
	return list, nil
}

func readFile(path string, self spiffe.ID) (*List, error) {
	raw, err := hubfile.ReadFile(path, maxFileBytes)
	if errors.Is(err, fs.ErrNotExist) && filepath.Base(path) == placement {
		return nil, fmt.Errorf("reading what is expected: there is no %s: nothing is placed on this host", path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what is expected: %w", err)
	}
	if owner := placedOn(path); self.Role == spiffe.Host && owner != "" && owner != self.Host {
		return nil, fmt.Errorf("reading what is expected: %s is the placement of host %s; this is host %s", path, owner, self.Host)
	}
	d := document{self: self}
	if err := hubfile.Decode(path, raw, &d); err != nil {
		return nil, err
	}
	if list := d.list(); list.Containers != nil || list.Hosts != nil {
		return list, nil
	}
	form := `{"hosts": {"vm1": {}}}`
	if self.Role == spiffe.Host {
		form = fmt.Sprintf(`{"containers": {"web.shop.%s": {}}}`, self.Host)
	}
	return nil, fmt.Errorf("reading what is expected: %s says nothing: must be %s", path, form)
}

// placedOn is the host that a placement in a tree is of; "" for other files.
func placedOn(path string) string {
	absolute, err := filepath.Abs(path)
	if err != nil || filepath.Base(absolute) != placement || filepath.Base(filepath.Dir(filepath.Dir(absolute))) != "hosts" {
		return ""
	}
	return filepath.Base(filepath.Dir(absolute))
}

// CheckSettings reports what is not for this machine, and names that nobody reports by.
func (d *document) CheckSettings(report func(key, message string)) {
	if d.self.Role != spiffe.Host {
		switch {
		case d.Containers != nil:
			report("containers", "is for a host; this is the fleet, which lists hosts")
		case d.Stacks != nil:
			report("stacks", "is the placement of one host; the fleet takes the whole tree: --expect <tree>")
		}
		for name := range d.Hosts {
			if err := spiffe.CheckLabel(name); err != nil {
				report(hubfile.Join("hosts", name), err.Error())
			}
		}
		return
	}
	switch {
	case d.Hosts != nil:
		report("hosts", "is for the fleet; this is host "+d.self.Host+", which lists containers")
	case d.Containers != nil && d.Stacks != nil:
		report("stacks", "is of a placement, and cannot stand beside containers")
	}
	for name := range d.Containers {
		if err := d.checkContainer(name); err != nil {
			report(hubfile.Join("containers", name), err.Error())
		}
	}
	d.checkStacks(report)
}

func (d *document) checkContainer(name string) error {
	id, err := spiffe.ParseBundleName(d.self.TrustDomain, name)
	if err == nil && (id.Role != spiffe.Container || id.Host != d.self.Host) {
		err = fmt.Errorf("%q is no container of host %s: must be <service>.<stack>.%s", name, d.self.Host, d.self.Host)
	}
	return err
}

func (d *document) checkStacks(report func(key, message string)) {
	placed := 0
	for name, stack := range d.Stacks {
		if err := spiffe.CheckLabel(name); err != nil {
			report(hubfile.Join("stacks", name), err.Error())
		}
		for i, service := range stack.Services {
			key := fmt.Sprintf("%s.services[%d]", hubfile.Join("stacks", name), i)
			if err := spiffe.CheckLabel(service); err != nil {
				report(key, err.Error())
			} else if slices.Index(stack.Services, service) < i {
				report(key, fmt.Sprintf("%q stands twice", service))
			}
		}
		if placed += len(stack.Services); placed > maxContainers {
			report("stacks", fmt.Sprintf("places more than %d services", maxContainers))
			return
		}
	}
}

// list is what a document that holds says.
func (d *document) list() *List {
	if d.Stacks == nil {
		return &List{Containers: d.Containers, Hosts: d.Hosts}
	}
	list := &List{Containers: map[string]Container{}}
	for name, stack := range d.Stacks {
		for _, service := range stack.Services {
			list.Containers[service+"."+name+"."+d.self.Host] = Expect()
		}
	}
	return list
}
