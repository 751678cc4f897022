// SPDX-License-Identifier: AGPL-3.0-or-later

package otlp

import (
	"encoding/binary"
	"math"
)

// Field tags of opentelemetry.proto.metrics.v1 and of its collector's request.
const (
	metricsRequestResource = 1<<3 | wireBytes // ExportMetricsServiceRequest.resource_metrics

	resourceMetricsResource = 1<<3 | wireBytes
	resourceMetricsScope    = 2<<3 | wireBytes

	scopeMetricsScope   = 1<<3 | wireBytes
	scopeMetricsMetrics = 2<<3 | wireBytes

	metricName        = 1<<3 | wireBytes
	metricDescription = 2<<3 | wireBytes
	metricUnit        = 3<<3 | wireBytes
	metricGauge       = 5<<3 | wireBytes
	metricSum         = 7<<3 | wireBytes

	sumPoints      = 1<<3 | wireBytes // Gauge.data_points too
	sumTemporality = 2<<3 | wireVarint
	sumMonotonic   = 3<<3 | wireVarint

	pointStart      = 2<<3 | wireFixed64
	pointTime       = 3<<3 | wireFixed64
	pointDouble     = 4<<3 | wireFixed64
	pointAttributes = 7<<3 | wireBytes
)

// cumulative is AGGREGATION_TEMPORALITY_CUMULATIVE: a sum counts from its start on.
const cumulative = 2

// Metric is a gauge, or a sum that only grows and counts from Start on.
type Metric struct {
	Name, Description string
	Unit              string // UCUM: By, {record}, s; "": none
	Sum               bool
	Points            []Point
}

// Point is one number of a metric.
type Point struct {
	Attributes []KeyValue
	// Start is when a sum began and Time when the number was taken, in nanoseconds since 1970 UTC.
	Start, Time uint64
	Value       float64
}

// AppendMetrics appends an ExportMetricsServiceRequest with one resource and one scope. It is for a few hundred numbers a
// minute: messages are made inside out, with copies.
func AppendMetrics(dst []byte, resource []KeyValue, scope Scope, metrics []Metric) []byte {
	var res []byte
	for i := range resource {
		res = appendField(res, resourceAttributes, &resource[i])
	}
	sc := appendString(appendString(nil, scopeName, scope.Name), scopeVersion, scope.Version)
	scopeMetrics := appendMessage(nil, scopeMetricsScope, sc)
	for _, m := range metrics {
		scopeMetrics = appendMessage(scopeMetrics, scopeMetricsMetrics, appendMetric(nil, m))
	}
	all := appendMessage(appendMessage(nil, resourceMetricsResource, res), resourceMetricsScope, scopeMetrics)
	return appendMessage(dst, metricsRequestResource, all)
}

func appendMetric(dst []byte, m Metric) []byte {
	dst = appendString(dst, metricName, m.Name)
	dst = appendString(dst, metricDescription, m.Description)
	dst = appendString(dst, metricUnit, m.Unit)
	var data []byte
	for _, p := range m.Points {
		data = appendMessage(data, sumPoints, appendPoint(nil, p))
	}
	if !m.Sum {
		return appendMessage(dst, metricGauge, data)
	}
	return appendMessage(dst, metricSum, append(data, sumTemporality, cumulative, sumMonotonic, 1))
}

func appendPoint(dst []byte, p Point) []byte {
	for _, t := range []struct {
		tag   byte
		nanos uint64
	}{{pointStart, p.Start}, {pointTime, p.Time}} {
		if t.nanos != 0 {
			dst = binary.LittleEndian.AppendUint64(append(dst, t.tag), t.nanos)
		}
	}
	dst = binary.LittleEndian.AppendUint64(append(dst, pointDouble), math.Float64bits(p.Value))
	for i := range p.Attributes {
		dst = appendField(dst, pointAttributes, &p.Attributes[i])
	}
	return dst
}

// appendMessage appends a message as a field, also an empty one.
func appendMessage(dst []byte, tag byte, message []byte) []byte {
	dst = binary.AppendUvarint(append(dst, tag), uint64(len(message)))
	return append(dst, message...)
}
