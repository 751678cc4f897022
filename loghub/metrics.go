// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"strings"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/openmetrics"
	"cloud4.internal/hub/internal/otlp"
)

// metric is a figure of log.json, or one for each of several things. Names have dots, as OpenTelemetry's; OpenMetrics' have
// underscores.
type metric struct {
	name, help string
	unit       string // UCUM, for OTLP; OpenMetrics has it in the name
	counter    bool   // it only grows, from loghub's start on
	samples    []sample
}

// sample is a number with labels: name, value, name, value.
type sample struct {
	value  float64
	labels []string
}

func one(value float64) []sample { return []sample{{value: value}} }

func flag(on bool) []sample {
	if on {
		return one(1)
	}
	return one(0)
}

// metrics are the figures that stand in log.json.
func metrics(n health.Node, s section) []metric {
	list := []metric{
		{"loghub.well", "1: loghub has nothing to complain about.", "", false, flag(n.State == health.Pass)},
		{"loghub.copy.dropped.bytes", "Bytes that the container's own output did not take.", "By", true, one(float64(s.Dropped))},
	}
	list = append(list, s.sourceMetrics()...)
	if c := s.Severities; c != nil {
		list = append(list, metric{"loghub.severe.records", "Records of the container, by level.", "{record}", true, []sample{
			{float64(c.Warn), []string{"level", "warn"}},
			{float64(c.Error), []string{"level", "error"}},
			{float64(c.Fatal), []string{"level", "fatal"}},
		}})
	}
	if sp := s.Spool; sp != nil {
		list = append(list,
			metric{"loghub.spool.used.bytes", "Bytes of the spool.", "By", false, one(float64(sp.Bytes))},
			metric{"loghub.spool.quota.bytes", "Bytes that the spool may have.", "By", false, one(float64(sp.Quota))},
			metric{"loghub.spool.memory.bytes", "Bytes of the spool that are in memory.", "By", false, one(float64(sp.InMemory))},
			metric{"loghub.spool.at.risk.bytes", "Bytes that the end of the container would take.", "By", false, one(float64(sp.AtRisk))},
			metric{"loghub.spool.disk.written.bytes", "Bytes written in the last 24 hours.", "By", false, one(float64(sp.WrittenToday))},
			metric{"loghub.spool.disk.failing", "1: the disk takes nothing.", "", false, flag(sp.Emergency)},
			metric{"loghub.spool.waiting.records", "Records that no receiver has taken.", "{record}", false, one(float64(sp.Backlog))},
			metric{"loghub.spool.damaged.places", "Places of the spool that could not be read.", "{place}", true, one(float64(sp.Corrupt))},
			metric{"loghub.spool.damaged.bytes", "Bytes passed over there.", "By", true, one(float64(sp.Skipped))})
	}
	if s.Sender != nil {
		list = append(list, s.senderMetrics()...)
	}
	return list
}

// sourceMetrics are those of each source; a figure that no source has is left out.
func (s section) sourceMetrics() []metric {
	list := []metric{
		{"loghub.records", "Records made of what a source gave.", "{record}", true, nil},
		{"loghub.read.position.bytes", "Up to where a source was read.", "By", false, nil},
		{"loghub.lag.bytes", "Bytes of a file that were not read yet.", "By", false, nil},
		{"loghub.lost.records", "Records that were shed, each told by a loss record.", "{record}", true, nil},
		{"loghub.lost.bytes", "Bytes of lost records, and of lines nobody saw.", "By", true, nil},
		{"loghub.misfit.records", "Lines that were not of the format that the settings fix.", "{record}", true, nil},
		{"loghub.limited.records", "Records that log.limit suppressed, each told by a loss record.", "{record}", true, nil},
	}
	for _, src := range s.Sources {
		for i, value := range []int64{src.Records, src.Position, src.Lag, src.Lost, src.LostBytes, src.Misfits, src.Limited} {
			list[i].samples = append(list[i].samples, sample{float64(value), []string{"source", src.Name}})
		}
	}
	return list
}

func (s section) senderMetrics() []metric {
	st := s.Sender
	list := []metric{
		{"loghub.receiver.up", "1: the last request went through, or there was none.", "", false, flag(st.OK)},
		{"loghub.receiver.refuses", "1: the receiver refuses logs, and somebody has to act.", "", false, flag(st.Held)},
		{"loghub.sent.records", "Records that the receiver acknowledged.", "{record}", true, one(float64(st.Sent))},
		{"loghub.sent.requests", "Requests to the receiver that were answered.", "{request}", true, one(float64(st.Requests))},
		{"loghub.sent.bytes", "Bytes of requests, compressed.", "By", true, one(float64(st.Bytes))},
		{"loghub.rejected.records", "Records that the receiver did not keep.", "{record}", true, one(float64(st.Rejected))},
		{"loghub.dead.records", "Dead letters: records that the receiver refused for good.", "{record}", true, one(float64(st.Dead))},
		{"loghub.dead.lost.records", "Dead letters that were not even kept.", "{record}", true, one(float64(st.DeadLost))},
	}
	if !st.LastAck.IsZero() {
		at := one(float64(st.LastAck.UnixMilli()) / 1e3)
		list = append(list, metric{"loghub.last.ack.timestamp.seconds", "When the receiver last took something.", "s", false, at})
	}
	return list
}

// openMetrics writes a list as text.
func openMetrics(list []metric, plain bool) []byte {
	d := openmetrics.Document{Plain: plain}
	for _, m := range list {
		kind := openmetrics.Gauge
		if m.counter {
			kind = openmetrics.Counter
		}
		d.Family(strings.ReplaceAll(m.name, ".", "_"), kind, m.help)
		for _, s := range m.samples {
			d.Sample(s.value, s.labels...)
		}
	}
	return d.Bytes()
}

// otlpMetrics makes of a list what is sent by OTLP. start is since when counters count.
func otlpMetrics(list []metric, start, now time.Time) []otlp.Metric {
	out := make([]otlp.Metric, len(list))
	for i, m := range list {
		out[i] = otlp.Metric{Name: m.name, Description: m.help, Unit: m.unit, Sum: m.counter}
		for _, s := range m.samples {
			p := otlp.Point{Time: uint64(now.UnixNano()), Value: s.value}
			if m.counter {
				p.Start = uint64(start.UnixNano())
			}
			for j := 0; j+1 < len(s.labels); j += 2 {
				p.Attributes = append(p.Attributes, otlp.KeyValue{Key: s.labels[j], Value: otlp.String(s.labels[j+1])})
			}
			out[i].Points = append(out[i].Points, p)
		}
	}
	return out
}
