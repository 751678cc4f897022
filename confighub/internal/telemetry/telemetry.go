// SPDX-License-Identifier: AGPL-3.0-or-later

// Package telemetry sends traces and metrics of confighub over OTLP/HTTP. It is the only importer of the
// OpenTelemetry SDK in the program.
//
// It is off, and costs nothing, unless the environment names an endpoint: OTEL_EXPORTER_OTLP_ENDPOINT,
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_METRICS_ENDPOINT. Everything else of the standard
// variables (headers, certificates, sampling, OTEL_SDK_DISABLED, OTEL_RESOURCE_ATTRIBUTES) is the SDK's
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
//
// Spans: "apply" for a transaction, with an event for each of its steps. Metrics:
//
//	confighub.apply            counter   transactions, by state (applied, rejected, rolled_back, failed)
//	confighub.apply.duration   histogram seconds of a transaction, by state
//
// Left out: logs, which are loghub's.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// closeTimeout bounds the last sending, which must not delay the container's stop.
const closeTimeout = time.Second

// Telemetry is where confighub counts and traces; the zero value does nothing.
type Telemetry struct {
	tracer   trace.Tracer
	applied  metric.Int64Counter
	duration metric.Float64Histogram
	close    []func(context.Context) error
}

// Enabled reports whether the environment asks for telemetry.
func Enabled(getenv func(string) string) bool {
	if getenv("OTEL_SDK_DISABLED") == "true" {
		return false
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"} {
		if getenv(name) != "" {
			return true
		}
	}
	return false
}

// New starts the exporters when the environment asks for them. On an error the Telemetry does nothing and can be used.
func New(ctx context.Context, version, identity string) (*Telemetry, error) {
	t := &Telemetry{}
	if !Enabled(os.Getenv) {
		return t, nil
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "confighub"), attribute.String("service.version", version), attribute.String("service.instance.id", identity),
	), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return t, fmt.Errorf("describing this program to OpenTelemetry: %w", err)
	}
	spans, err := otlptracehttp.New(ctx)
	if err != nil {
		return t, fmt.Errorf("starting the export of traces: %w", err)
	}
	points, err := otlpmetrichttp.New(ctx)
	if err != nil {
		return t, fmt.Errorf("starting the export of metrics: %w", err)
	}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans), sdktrace.WithResource(about))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(points)), sdkmetric.WithResource(about))
	meter := meters.Meter("confighub")
	applied, err := meter.Int64Counter("confighub.apply", metric.WithDescription("transactions by state"))
	if err != nil {
		return t, fmt.Errorf("making a counter: %w", err)
	}
	duration, err := meter.Float64Histogram("confighub.apply.duration", metric.WithUnit("s"), metric.WithDescription("time of a transaction"))
	if err != nil {
		return t, fmt.Errorf("making a histogram: %w", err)
	}
	return &Telemetry{
		tracer: tracers.Tracer("confighub"), applied: applied, duration: duration,
		close: []func(context.Context) error{tracers.Shutdown, meters.Shutdown},
	}, nil
}

// Close sends what is left, for at most a second.
func (t *Telemetry) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	for _, stop := range t.close {
		errs = append(errs, stop(ctx))
	}
	return errors.Join(errs...)
}

// Transaction is the span of one transaction; the zero value does nothing.
type Transaction struct {
	owner *Telemetry
	span  trace.Span
	begin time.Time
}

// Transaction begins one for a version.
func (t *Telemetry) Transaction(ctx context.Context, serial uint64, digest string) (context.Context, *Transaction) {
	if t.tracer == nil {
		return ctx, &Transaction{}
	}
	ctx, span := t.tracer.Start(ctx, "apply", trace.WithAttributes(
		attribute.Int64("confighub.version.serial", int64(serial)), attribute.String("confighub.version.digest", digest)))
	return ctx, &Transaction{owner: t, span: span, begin: time.Now()}
}

// Step records that a step is done.
func (x *Transaction) Step(name string) {
	if x.span != nil {
		x.span.AddEvent(name)
	}
}

// End ends the span with what became of the version. The words of err stay out: they may quote a check.
func (x *Transaction) End(state string, failed bool) {
	if x.span == nil {
		return
	}
	label := metric.WithAttributes(attribute.String("state", state))
	x.owner.applied.Add(context.Background(), 1, label)
	x.owner.duration.Record(context.Background(), time.Since(x.begin).Seconds(), label)
	if failed {
		x.span.SetStatus(codes.Error, state)
	}
	x.span.End()
}
