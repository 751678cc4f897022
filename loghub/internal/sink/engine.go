// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"maps"
	"slices"
)

// Engine is what a kind of receiver wants of requests, besides OTLP.
type Engine struct {
	Path    string
	Headers map[string]string
}

// engines by the names of the setting log.engine. VictoriaLogs makes streams of all resource attributes unless it is
// told which (docs.victoriametrics.com/victorialogs/data-ingestion/opentelemetry); container.id, new at each deployment, would make
// streams without end. Loki takes X-Scope-OrgID where it has tenants: that is the user's to set.
var engines = map[string]Engine{
	"loghub":       {Path: "/v1/logs"},
	"collector":    {Path: "/v1/logs"},
	"victorialogs": {Path: "/insert/opentelemetry/v1/logs", Headers: map[string]string{"VL-Stream-Fields": "host.name,service.namespace,service.name,service.instance.id"}},
	"loki":         {Path: "/otlp/v1/logs"},
}

// EngineNamed returns what the engine of that name wants; any other name is that of plain OTLP.
func EngineNamed(name string) Engine {
	if e, ok := engines[name]; ok {
		return e
	}
	return engines["collector"]
}

// Engines are the names of the setting log.engine.
func Engines() []string { return slices.Sorted(maps.Keys(engines)) }
