// SPDX-License-Identifier: AGPL-3.0-or-later

package secret_test

import (
	"slices"
	"testing"

	"cloud4.internal/hub/internal/secret"
)

func TestNamed(t *testing.T) {
	for _, name := range []string{
		"DB_PASSWORD", "POSTGRES_PASSWORD", "PGPASSWORD", "password", "dbPassword", "MYSQL_ROOT_PASSWD", "MYSQL_PWD", "REDIS_PASS",
		"SMTP_PASS_2", "KEYSTOREPASS", "API_TOKEN", "GITHUB_TOKENS", "CLIENT_SECRET", "SECRET_KEY_BASE", "apiKey", "APIKEY", "API_KEYS",
		"KEY", "KEY_2", "ENCRYPTION_KEY1", "AWS_ACCESS_KEY_ID", "SECRET_HOOK_URL", "KEYCLOAK_ADMIN_PASSWORD", "tls-key-passphrase",
		"AZURE_CREDENTIALS", "spring.datasource.password", "SESSION_SECRET",
	} {
		if !secret.Named(name) {
			t.Errorf("%s is a secret", name)
		}
	}
	for _, name := range []string{
		"", "=", "PATH", "HOME", "PWD", "OLDPWD", "KEYMAP", "KEYBOARD_LAYOUT", "KEYCLOAK_URL", "KEYSTORE", "TLS_KEY_FILE", "SECRETS_DIR",
		"SSH_KEY_PATH", "TOKEN_URL", "OAUTH_TOKEN_ENDPOINT", "JWKS_KEYS_URI", "TOKEN_TTL", "SECRET_NAME", "TOKENIZERS_PARALLELISM",
		"NEXT_PUBLIC_API_KEY", "JWT_PUBLIC_KEY", "SSH_PUB_KEY", "AGE_PUBKEY", "BYPASS", "PASSENGER_APP_ENV", "COMPASS", "TOKEN_HEADER",
		"PASSWORD_LENGTH", "STAGE", "HUB_CONFIG_TRUSTED_KEYS", "SSH_AUTHORIZED_KEYS",
	} {
		if secret.Named(name) {
			t.Errorf("%s is no secret", name)
		}
	}
	for name, want := range map[string]bool{"DB_PASSWORD_FILE": true, "TLS_KEY_PATH": true, "SECRETS_DIR": true, "FILE": false, "PROFILE": false} {
		if got := secret.Place(name); got != want {
			t.Errorf("%s: place %v", name, got)
		}
	}
}

func TestInURL(t *testing.T) {
	for value, want := range map[string]string{
		"postgres://shop:correct-horse@db:5432/shop?sslmode=disable": "correct-horse",
		"redis://:hunter2hunter2@cache/0":                            "hunter2hunter2",
		"amqp://a:p%40ss%2Fword@mq":                                  "p@ss/word",
		"postgres://a:p^ss[word@db/x":                                "p^ss[word",
		"https://example.net/a@b":                                    "",
		"https://ops@example.net/":                                   "",
		"a@b:c":                                                      "",
		"://@":                                                       "",
		"":                                                           "",
	} {
		if got, _ := secret.InURL(value); got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

func TestInHeaders(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        []string
	}{
		{"OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abcd1234", []string{"Bearer%20abcd1234", "Bearer abcd1234", "abcd1234"}},
		{"OTEL_EXPORTER_OTLP_LOGS_HEADERS", " api-key = abcdef==, x = ,y,z=%zz-12345,again=abcdef==,tenant=shop", []string{"abcdef==", "%zz-12345"}},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Basic eDp5eDp5", []string{"Basic eDp5eDp5", "eDp5eDp5"}},
		{"OTEL_EXPORTER_OTLP_HEADERS", "", nil},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "a=bbbbbbbb", nil},
		{"HEADERS", "a=bbbbbbbb", nil},
	} {
		if got := secret.InHeaders(c.name, c.value); !slices.Equal(got, c.want) {
			t.Errorf("%s=%s: %q, want %q", c.name, c.value, got, c.want)
		}
	}
}

// FuzzNames: no name and no value makes it fail.
func FuzzNames(f *testing.F) {
	f.Add("apiKEYs_2", "x://a:b@c")
	f.Fuzz(func(t *testing.T, name, value string) {
		if secret.Named(name) && secret.Place(name) {
			t.Errorf("%q is a secret and a place", name)
		}
		if slices.Contains(secret.InHeaders("OTEL_EXPORTER_OTLP_HEADERS", value), "") {
			t.Errorf("%q has an empty header", value)
		}
		if password, ok := secret.InURL(value); !ok && password != "" {
			t.Errorf("%q: %q, which is none", value, password)
		}
	})
}
