// SPDX-License-Identifier: AGPL-3.0-or-later

package render

import (
	"testing"

	"cloud4.internal/hub/internal/initctl"
	"github.com/google/go-cmp/cmp"
)

func TestSecretsIn(t *testing.T) {
	got := secretsIn([]string{
		"STAGE=test", "DB_TOKEN=t1", "EMPTY_KEY=", "DSN=amqp://a:b@mq", "OTEL_EXPORTER_OTLP_HEADERS=tenant=shop,authorization=Bearer tell-me-not",
	})
	want := []initctl.Secret{
		{Name: "DB_TOKEN", Value: "t1"}, {Name: "DSN", Value: "b"},
		{Name: "OTEL_EXPORTER_OTLP_HEADERS", Value: "Bearer tell-me-not"}, {Name: "OTEL_EXPORTER_OTLP_HEADERS", Value: "tell-me-not"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
