// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/internal/spiffe"
)

// resource gives the attributes of everything this container sends (semantic
// conventions: service, host, container). It follows the identity, which may come
// after loghub has started.
type resource struct {
	files    *identity.Files
	settings identity.Settings
	instance string
	fixed    []otlp.KeyValue // service.instance.id, container.id
	extra    []otlp.KeyValue // of OTEL_RESOURCE_ATTRIBUTES; never over the others
	name     string          // OTEL_SERVICE_NAME, for what has no name of its own

	mu         sync.Mutex // guards what follows
	generation uint64
	attrs      []otlp.KeyValue
}

func newResource(files *identity.Files, settings identity.Settings) *resource {
	instance := initctl.Slot()
	if instance == initctl.NoSlot { // a one-off run: its uids must meet nobody else's
		instance = "run-" + strconv.FormatInt(time.Now().UnixMilli(), 36)
	}
	r := &resource{files: files, settings: settings, instance: instance}
	r.fixed = []otlp.KeyValue{{Key: "service.instance.id", Value: otlp.String(instance)}}
	if id := containerID("/proc/self/mountinfo"); id != "" {
		r.fixed = append(r.fixed, otlp.KeyValue{Key: "container.id", Value: otlp.String(id)})
	}
	r.fromEnv(os.Getenv)
	return r
}

// attributes returns the resource of this moment.
func (r *resource) attributes() []otlp.KeyValue {
	r.mu.Lock()
	defer r.mu.Unlock()
	generation := r.files.Generation()
	if r.attrs != nil && r.generation == generation {
		return r.attrs
	}
	id, err := r.files.ID()
	if err != nil {
		id, _ = r.settings.ID(identity.Slot()) // no name is told as an unknown service
	}
	r.generation = generation
	r.attrs = append(named(id, r.name), r.fixed...)
	for _, kv := range r.extra {
		if !slices.ContainsFunc(r.attrs, func(own otlp.KeyValue) bool { return own.Key == kv.Key }) {
			r.attrs = append(r.attrs, kv)
		}
	}
	return r.attrs
}

// fromEnv takes what the standard variables say of the resource. The names of the identity, which a receiver can
// hold against the certificate, win over them.
func (r *resource) fromEnv(getenv func(string) string) {
	good, _ := pairs(getenv("OTEL_RESOURCE_ATTRIBUTES"))
	r.name = getenv("OTEL_SERVICE_NAME")
	if r.name == "" {
		r.name = good["service.name"]
	}
	for _, key := range slices.Sorted(maps.Keys(good)) {
		if len(r.extra) < maxExtra {
			r.extra = append(r.extra, otlp.KeyValue{Key: key, Value: otlp.String(good[key])})
		}
	}
}

// maxExtra bounds what OTEL_RESOURCE_ATTRIBUTES adds to every request.
const maxExtra = 64

// named gives the attributes that come from an identity; fallback names what has no name.
func named(id spiffe.ID, fallback string) []otlp.KeyValue {
	name, namespace, host := id.Service, id.Stack, id.Host
	switch id.Role {
	case spiffe.Genesis:
		name, namespace = id.Name, "genesis"
	case spiffe.Host:
		name = "host"
	}
	if name == "" {
		name = fallback
	}
	if name == "" {
		name = "unknown_service" // what the conventions ask for
	}
	attrs := []otlp.KeyValue{{Key: "service.name", Value: otlp.String(name)}}
	if namespace != "" {
		attrs = append(attrs, otlp.KeyValue{Key: "service.namespace", Value: otlp.String(namespace)})
	}
	if host != "" {
		attrs = append(attrs, otlp.KeyValue{Key: "host.name", Value: otlp.String(host)})
	}
	return attrs
}

// containerID finds the id in the mounts every engine makes for
// /etc/hostname: …/containers/<64 hex digits>/hostname. "" where there is none.
func containerID(mountinfo string) string {
	f, err := os.Open(mountinfo)
	if err != nil {
		return ""
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) < 5 || fields[4] != "/etc/hostname" {
			continue
		}
		for part := range strings.SplitSeq(fields[3], "/") {
			if len(part) == 64 && strings.Trim(part, "0123456789abcdef") == "" {
				return part
			}
		}
	}
	return ""
}
