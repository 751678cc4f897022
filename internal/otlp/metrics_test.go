// SPDX-License-Identifier: AGPL-3.0-or-later

package otlp_test

import (
	"math"
	"testing"

	"cloud4.internal/hub/internal/otlp"
	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/slim/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/slim/otlp/metrics/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

// toMetrics is the request that the generated code makes.
func toMetrics(res []otlp.KeyValue, scope otlp.Scope, list []otlp.Metric) *collector.ExportMetricsServiceRequest {
	attributes := func(kvs []otlp.KeyValue) (out []*common.KeyValue) {
		for _, kv := range kvs {
			out = append(out, &common.KeyValue{Key: kv.Key, Value: toAny(kv.Value)})
		}
		return out
	}
	sm := &metrics.ScopeMetrics{Scope: &common.InstrumentationScope{Name: scope.Name, Version: scope.Version}}
	for _, m := range list {
		var points []*metrics.NumberDataPoint
		for _, p := range m.Points {
			points = append(points, &metrics.NumberDataPoint{
				Attributes: attributes(p.Attributes), StartTimeUnixNano: p.Start, TimeUnixNano: p.Time, Value: &metrics.NumberDataPoint_AsDouble{AsDouble: p.Value},
			})
		}
		out := &metrics.Metric{Name: m.Name, Description: m.Description, Unit: m.Unit, Data: &metrics.Metric_Gauge{Gauge: &metrics.Gauge{DataPoints: points}}}
		if m.Sum {
			out.Data = &metrics.Metric_Sum{Sum: &metrics.Sum{
				DataPoints: points, IsMonotonic: true, AggregationTemporality: metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
			}}
		}
		sm.Metrics = append(sm.Metrics, out)
	}
	return &collector.ExportMetricsServiceRequest{ResourceMetrics: []*metrics.ResourceMetrics{{
		Resource: &resource.Resource{Attributes: attributes(res)}, ScopeMetrics: []*metrics.ScopeMetrics{sm},
	}}}
}

func compareMetrics(t *testing.T, res []otlp.KeyValue, scope otlp.Scope, list []otlp.Metric) {
	t.Helper()
	var got collector.ExportMetricsServiceRequest
	if err := proto.Unmarshal(otlp.AppendMetrics(nil, res, scope, list), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(toMetrics(res, scope, list), &got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestMetricsAgainstOracle(t *testing.T) {
	res := []otlp.KeyValue{{Key: "service.name", Value: otlp.String("web")}}
	compareMetrics(t, nil, otlp.Scope{}, nil)
	compareMetrics(t, res, otlp.Scope{Name: "loghub", Version: "1"}, []otlp.Metric{
		{Name: "loghub.records", Description: "Records.", Unit: "{record}", Sum: true, Points: []otlp.Point{
			{Attributes: []otlp.KeyValue{{Key: "source", Value: otlp.String("stdout")}}, Start: 1790000000000000000, Time: 1790000000000000001, Value: 17},
			{Time: 1, Value: 0},
		}},
		{Name: "loghub.spool", Points: []otlp.Point{{Value: math.MaxFloat64}, {Value: math.Inf(-1)}}},
		{Name: "empty"}, {Name: "empty sum", Sum: true},
	})
}

func FuzzMetrics(f *testing.F) {
	f.Add("name", "text", "By", true, "key", "value", uint64(1), uint64(2), 1.5)
	f.Fuzz(func(t *testing.T, name, text, unit string, sum bool, key, value string, start, at uint64, number float64) {
		if math.IsNaN(number) {
			number = 0
		}
		for _, s := range []*string{&name, &text, &unit, &key, &value} {
			*s = string([]rune(*s)) // the oracle has no answer to what is not UTF-8
		}
		kvs := []otlp.KeyValue{{Key: key, Value: otlp.String(value)}}
		compareMetrics(t, kvs, otlp.Scope{Name: name}, []otlp.Metric{{Name: name, Description: text, Unit: unit, Sum: sum, Points: []otlp.Point{
			{Attributes: kvs, Start: start, Time: at, Value: number}, {Value: -number},
		}}})
	})
}
