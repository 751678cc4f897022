// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	m := shapesOnly(Tokens)
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
	for line, want := range map[string]string{
		"Authorization: Bearer abcdefgh":                                "Authorization: Bearer ***token***",
		"authorization: bearer abcdefgh== x":                            "authorization: bearer ***token*** x",
		"Authorization: Basic c2hvcDpjcmV3":                             "Authorization: Basic ***token***",
		"Proxy-Authorization: Basic c2hvcDpjcmV3cw==, next":             "Proxy-Authorization: Basic ***token***, next",
		`{"Authorization":"Bearer abcdefgh","x":1}`:                     `{"Authorization":"Bearer ***token***","x":1}`,
		`{"h":"{\"Authorization\":\"Bearer abcdefgh\"}"}`:               `{"h":"{\"Authorization\":\"Bearer ***token***\"}"}`,
		"map[Authorization:[Bearer abcdefgh] X:[1]]":                    "map[Authorization:[Bearer ***token***] X:[1]]",
		"{'Authorization': 'Token abcdefgh'}":                           "{'Authorization': 'Token ***token***'}",
		"authorization => Negotiate YIIabcdefgh":                        "authorization => Negotiate ***token***",
		"Authorization: Custom abcdefgh":                                "Authorization: Custom abcdefgh",
		"Authorization: abcdefgh1":                                      "Authorization: ***token***",
		"curl -H 'Authorization: Bearer abcdefgh' https://x":            "curl -H 'Authorization: Bearer ***token***' https://x",
		"sent Bearer abcdefgh12345678 to it":                            "sent Bearer ***token*** to it",
		"sent Basic c2hvcDpjcmV3cw== to it":                             "sent Basic ***token*** to it",
		"GET /cb?access_token=abcdefgh1&state=x HTTP/1.1":               "GET /cb?access_token=***token***&state=x HTTP/1.1",
		"access_token=1234567|abcdefghijk, more":                        "access_token=***token***, more",
		"api_key: $ecret-of-24-bytes-long":                              "api_key: ***token***",
		`"refreshToken" : "abcdefgh1"`:                                  `"refreshToken" : "***token***"`,
		"X-Api-Key: 0123456789abcdef":                                   "X-Api-Key: ***token***",
		"client_secret=a.b~c1-d2":                                       "client_secret=***token***",
		"PRIVATE-TOKEN: abcdefgh1":                                      "PRIVATE-TOKEN: ***token***",
		"token=550e8400-e29b-41d4-a716-446655440000":                    "token=***token***",
		"csrf_token=abcdefgh12345678":                                   "csrf_token=***token***",
		"token=short123":                                                "token=short123",
		"X-Amz-Signature=" + strings.Repeat("0a", 32) + "&x":            "X-Amz-Signature=***token***&x",
		"sig=" + strings.Repeat("0a", 20) + "%3D&se=2026":               "sig=***token***&se=2026",
		"got " + jwt + ".":                                              "got ***token***.",
		"/verify/" + jwt + "?x":                                         "/verify/***token***?x",
		"jwe eyJhbGciOiJSU0EifQ.a-b.c_d.e.f ok":                         "jwe ***token*** ok",
		"alg none: eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0. ok":             "alg none: ***token*** ok",
		"push with ghp_" + strings.Repeat("aB3", 12):                    "push with ***token***",
		"https://u:glpat-" + strings.Repeat("aB-3", 5) + "@gitlab.com/": "https://u:***token***@gitlab.com/",
		"x xoxb-1234567890-abcdefghij y":                                "x ***token*** y",
		"key sk_live_0123456789abcdef.":                                 "key ***token***.",
		"id AKIAIOSFODNN7EXAMPLE, x":                                    "id ***token***, x",
		"Credential=AKIAIOSFODNN7EXAMPLE/20261121/eu":                   "Credential=***token***/20261121/eu",
		"u=/v1/AIza" + strings.Repeat("a-B_3", 7) + "/x":                "u=/v1/***token***/x",
		"AGE-SECRET-KEY-1" + strings.Repeat("QP", 29):                   "***token***",
		"SG." + strings.Repeat("a", 22) + "." + strings.Repeat("b", 43): "***token***",
	} {
		if got := hide(m, line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	for _, s := range tokenShapes {
		body := map[body]string{alnum: "aB3d", word: "aB-3", dotted: "aB-3", upper: "AB34"}[s.body]
		token := s.head + strings.Repeat(body, 20)[:s.least]
		for _, around := range []string{"%", "is %, or", `"k":"%"`, "https://h/%/x", "x=%"} {
			if got := hide(m, strings.ReplaceAll(around, "%", token)); got != strings.ReplaceAll(around, "%", "***token***") {
				t.Errorf("%q in %q: %q", token, around, got)
			}
		}
		if got := hide(m, "is "+token[:len(token)-1]); got != "is "+token[:len(token)-1] {
			t.Errorf("%q, which is too short: %q", token[:len(token)-1], got)
		}
		if len(token) < minShaped {
			t.Errorf("%q is shorter than what is looked at", token)
		}
	}
}
