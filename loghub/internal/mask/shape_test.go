// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// shapesOnly hides shapes and no values.
func shapesOnly(s Shapes) *Matcher {
	m, _ := build(nil, s)
	return m
}

func TestParseShapes(t *testing.T) {
	for _, names := range [][]string{nil, {"cards"}, {"tokens"}, {"cards", "tokens"}} {
		s, err := ParseShapes(names)
		if err != nil || !slices.Equal(s.Names(), names) {
			t.Errorf("%v: %v, %v", names, s.Names(), err)
		}
	}
	if _, err := ParseShapes([]string{"cards", "phones"}); err == nil || !strings.Contains(err.Error(), `"phones" is no pattern`) {
		t.Error(err)
	}
}

// TestShapesOff: what nobody asked for is not looked for.
func TestShapesOff(t *testing.T) {
	line := "card 4111 1111 1111 1111, Authorization: Bearer abcdefgh12345678"
	for s, want := range map[Shapes]string{
		0: line, Cards: "card ***card***1111, Authorization: Bearer abcdefgh12345678",
		Tokens:         "card 4111 1111 1111 1111, Authorization: Bearer ***token***",
		Cards | Tokens: "card ***card***1111, Authorization: Bearer ***token***",
	} {
		if got := hide(shapesOnly(s), line); got != want {
			t.Errorf("%d: %q", s, got)
		}
	}
}

// TestShapesWithValues: values and shapes are hidden side by side, and where they overlap all of it is.
func TestShapesWithValues(t *testing.T) {
	m, _ := build(named("KEY", "abcdefgh12345678", "a-value-of-24-characters"), Cards|Tokens)
	for line, want := range map[string]string{
		"a-value-of-24-characters 4111111111111111":           "***KEY*** ***card***1111",
		"Bearer abcdefgh12345678":                             "Bearer ***KEY***",
		"Bearer abcdefgh12345678andmore":                      "Bearer ***KEY***",
		"Bearer before.abcdefgh12345678":                      "Bearer ***token***",
		`{"a":"Bearer%20abcdefgh12345678andmore"}`:            `{"a":"Bearer%20***KEY***"}`,
		"4111111111111111":                                    "***card***1111",
		"short 4":                                             "short 4",
		"https://x/?access_token=1234567z&u=4111111111111111": "https://x/?access_token=***token***&u=***card***1111",
	} {
		if got := hide(m, line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// TestShapesEscaped: also where they are written in JSON, in a URL, in JSON within JSON.
func TestShapesEscaped(t *testing.T) {
	m := shapesOnly(Cards | Tokens)
	for _, line := range []string{
		`Authorization: Bearer ab/cd+ef12345678`, `{"authorization":"Bearer abcdef12345678"}`, "4111 1111 1111 1111", "a\t4111-1111-1111-1111", `access_token=ab/cdef12345678`,
		"x ghp_" + strings.Repeat("a1B2", 9) + " y",
	} {
		inner, _ := json.Marshal(line)
		outer, _ := json.Marshal(map[string]string{"msg": string(inner)})
		for _, written := range []string{line, string(inner), string(outer), "q=" + url.QueryEscape(line), "q=" + url.PathEscape(line), "q=" + url.QueryEscape(string(inner))} {
			got := hide(m, written)
			if strings.Contains(got, "12345678") || strings.Contains(got, "1111-") || strings.Contains(got, "1111 1111") || strings.Contains(got, "a1B2a1") ||
				!strings.Contains(got, "***") {
				t.Errorf("%s: %s", written, got)
			}
		}
	}
}

// harmless are lines with numbers and words that look a little like it and are not.
var harmless = []string{
	"1795276733 1795276733229 1795276733229000 1795276733229000123", // seconds to nanoseconds
	"20261121075542 20261121075542123 2026-11-21 07:55:42.123456789 2026-11-21T07:55:42Z", "time=1795276733.229000123",
	"550e8400-e29b-41d4-a716-446655440000 41111111-1111-1111-1111-111111111111 4111-1111-1111-1111-1111", // UUIDs
	"commit 411111111111111141111111111111114111aaaa sha256:4111111111111111411111111111111141111111111111114111111111111111",
	"0x4111111111111111 4111111111111111f a4111111111111111 deadbeef4111111111111111",
	"0.4111111111111111 4111111111111111.5 -3.4111111111111111e+10",
	"+4915112345678 +49 151 12345678 0049 151 12345678 +1 (415) 555-2671 4915112345670 tel 4930901820000", // phones, EANs
	"order 4111111111111112 5500000000000005 378282246310006 6011111111111118",                            // fail at the check digit
	"DE89 3704 0044 0532 0130 00 GB29 NWBK 6016 1331 9268 19 XX12 4111 1111 1111 1111 22",                 // IBANs
	"imei 353456789012348 iccid 8944500102198304826", "ean 4006381333931 isbn 9783161484100",
	"4111 1111 1111 1111 4111 1111 1111 1111 4111 1111", "4142 4344 4546 4748 4950 5152 5354 5556 5758",
	"41111111111111111111111111 000000000000000000000000 4111  1111 1111 1111 4111-1111 1111-1111", "9999999999999999 0000000000000000 1111111111111117",
	"203.0.113.7 - - [21/Nov/2026:07:55:42 +0000] \"GET /index.html?a=1 HTTP/1.1\" 200 612",
	"dd.trace_id=4372849238472983749 span=4111111111111111112",
	"Bearer authentication failed: Bearer realm=\"example\", error=\"invalid_token\"", "WWW-Authenticate: Basic realm=\"restricted area\"",
	"Basic functionality, basic information1, Basic QUJDREVGRw== and a bearer of bad news",
	"unexpected token: identifier expected near token=EOF, \"token\":null, token_type=bearer", "access_token: required, id_token=undefined access_token=[REDACTED]",
	"next_page_token=CAEQAA0123456789abcdef nextPageToken: \"CAEQAA0123456789abcdef\"", "token_expires_in=3600 tokens=12345678901234567890",
	"Authorization: Negotiate", "authorization: AWS4-HMAC-SHA256 Credential=shop/20261121/eu/s3/aws4_request", "Proxy-Authorization: Digest username=\"crew\"",
	"eyJhbGciOiJIUzI1NiJ9 is no token, eyJ.a.b neither", "risk_live_0123456789abcdefghij ghp_short AKIAshort xoxb-short npm_config_registry_default_location_is_here",
	"AKIA0123456789ABCDEFGHIJ", "class=sk-fading-circle-one-two-three-four-five-six-seven-eight", "https://example.net/a/b/c/d?key=0123456789abcdef0123456789abcdef",
	"signature=short sig=0123456789", "hf_transfer_is_enabled_for_this_download", "git log 3f786850e387550fdab836ed7e6dc881de23001b..89e6c98d92887913cadf06b2adb97f26cde4849b",
	"goroutine 1 [running]: main.main() /srv/app/main.go:17 +0x1d0123456789ab", "user_token_count=123456789012345678", "ETag: 5f3c4111111111111111",
	"Мир 2204 и 4111", "", " ", "-", "4", "eyJ", "Bearer ", "token=", "=", ":",
}

func TestHarmless(t *testing.T) {
	m := shapesOnly(Cards | Tokens)
	for _, line := range harmless {
		if got := hide(m, line); got != line {
			t.Errorf("%q: %q", line, got)
		}
	}
}

// TestGuesses: of numbers that are none of cards few are taken for one.
func TestGuesses(t *testing.T) {
	m := shapesOnly(Cards)
	rnd := rand.New(rand.NewPCG(1, 2))
	const n = 100_000
	for _, tt := range []struct {
		name string
		most float64 // of a hundred
		make func() string
	}{
		{"63 bits", 0.8, func() string { return fmt.Sprint(rnd.Int64()) }},
		{"16 digits", 3.5, func() string { return fmt.Sprintf("%016d", rnd.Int64N(1e16)) }},
		{"13 digits", 0.01, func() string { return fmt.Sprintf("%013d", rnd.Int64N(1e13)) }},
		{"nanoseconds", 0, func() string { return fmt.Sprint(1_700_000_000_000_000_000 + rnd.Int64N(200_000_000_000_000_000)) }},
		{"microseconds", 0, func() string { return fmt.Sprint(1_700_000_000_000_000 + rnd.Int64N(200_000_000_000_000)) }},
		{"hex", 0.05, func() string { return fmt.Sprintf("%016x", rnd.Uint64()) }},
		{"UUID", 0.01, func() string {
			return fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", rnd.Uint32(), rnd.IntN(1<<16), rnd.IntN(1<<12), rnd.IntN(1<<12), rnd.Int64N(1<<48))
		}},
	} {
		hits := 0
		for range n {
			if line := "id " + tt.make() + " done"; hide(m, line) != line {
				hits++
			}
		}
		t.Logf("%s: %.3f %%", tt.name, 100*float64(hits)/n)
		if share := 100 * float64(hits) / n; share > tt.most {
			t.Errorf("%s: %.3f %% are taken for cards", tt.name, share)
		}
	}
}

// TestShapesCut: wherever a line is cut into pieces, less is left than may be shown.
func TestShapesCut(t *testing.T) {
	m := shapesOnly(Cards | Tokens)
	for _, tt := range []struct{ line, secret string }{
		{"paid with 5425 2334 3010 9903 today", "5425 2334 3010 9903"}, {"5425233430109903", "5425233430109903"},
		{"Authorization: Bearer abcdefghij0123456789", "abcdefghij0123456789"}, {"a?access_token=abcdefghij0123456789&b", "abcdefghij0123456789"},
		{"x ghp_abcdefghijklmnopqrstuvwxyz0123456789 y", "abcdefghijklmnopqrstuvwxyz0123456789"},
		{`{"jwt":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"}`, "eyJzdWIiOiIxIn0.c2lnbmF0dXJl"},
	} {
		for cut := 1; cut < len(tt.line); cut++ {
			got := inPieces(m, tt.line, cut)
			if n := longestCommon(tt.secret, got); n >= cardBegin+1 && n > minBegin || !strings.Contains(got, "***") || strings.Contains(got, "again") {
				t.Errorf("%q cut at %d: %q", tt.line, cut, got)
			}
		}
	}
	for _, line := range []string{"took 1234567", "at 1795276733", "a word and another", "20261121075542"} {
		if got := inPieces(m, line+"?", len(line)); got != line+"|?" {
			t.Errorf("%q: %q", line, got)
		}
	}
}

// tooLong is what a megabyte never takes, also under -race on a busy machine; a scanner that goes back takes minutes.
const tooLong = 10 * time.Second

// TestShapesTime: no line takes more than a time that grows with its length.
func TestShapesTime(t *testing.T) {
	m, s := shapesOnly(Cards|Tokens), new(Scratch)
	for _, part := range []string{"4", "4 ", "4111-", "4111 1111 ", "a", "eyJ-", "eyJ.", "eyJ", "ghp_", "sk-", "token=", "=:\"", "a1b2c3d4|", "Bearer ", "é", "\\u0034", "%34", "12345678."} {
		line := []byte(strings.Repeat(part, (1<<20)/len(part)))
		began := time.Now()
		m.Mask(line, s)
		took := time.Since(began)
		if t.Logf("%q: %v", part, took); took >= tooLong {
			t.Errorf("%q: %v for a megabyte", part, took)
		}
	}
}

var (
	anyCard   = regexp.MustCompile(`[0-9](?:[ +-]?[0-9]){12,18}`)
	anyBearer = regexp.MustCompile(`(?i)authorization: (?:bearer|basic) ([a-z0-9._~+/-]{8,})`)
)

// FuzzShapes: nothing panics, what is left is the line with labels in it, a second pass finds nothing that was there before, and
// an independent search for whole, lonely Visa numbers and headers finds none that was left.
func FuzzShapes(f *testing.F) {
	for _, line := range harmless {
		f.Add(line, uint(len(line)/2))
	}
	f.Add("x 4111 1111 1111 1111 y", uint(9))
	f.Add(`{"a":"Authorization: Bearer abcdefgh","b":"%34111111111111111"}`, uint(30))
	f.Add("pan=4222222222222 xoxb-1234567890-abcdefghij", uint(8))
	m := shapesOnly(Cards | Tokens)
	f.Fuzz(func(t *testing.T, line string, at uint) {
		if strings.Contains(line, "*") {
			return
		}
		got := hide(m, line)
		rest := line
		for i, kept := range regexp.MustCompile(`\*\*\*(?:card|token)\*\*\*`).Split(got, -1) {
			j := strings.Index(rest, kept)
			if j < 0 || i == 0 && j > 0 {
				t.Fatalf("%q: %q is not the line with labels in it", line, got)
			}
			rest = rest[j+len(kept):]
		}
		for _, found := range anyCard.FindAllStringIndex(got, -1) {
			text := got[found[0]:found[1]]
			if strings.ContainsAny(text, " +-") || len(text) != 16 || text[0] != '4' || !luhn([]byte(text)) ||
				partOfMore([]byte(got), found[0], found[1]) || found[1] < len(got) && isDigit(got[found[1]]) {
				continue
			}
			t.Errorf("%q: %q shows %q", line, got, text)
		}
		if found := anyBearer.FindString(got); found != "" {
			t.Errorf("%q: %q shows %q", line, got, found)
		}
		if len(line) > 0 {
			inPieces(m, line, int(at%uint(len(line))))
		}
		if line == got && !bytes.Equal(m.Mask([]byte(line), new(Scratch)), []byte(line)) {
			t.Error("not the same twice")
		}
	})
}

func BenchmarkShapes(b *testing.B) {
	s := new(Scratch)
	lines := map[string]string{
		"access": `203.0.113.7 - - [21/Nov/2026:07:55:42 +0000] "GET /index.html?a=1 HTTP/1.1" 200 612 "https://example.net/" "Mozilla/5.0 (X11; Linux x86_64) Gecko"`,
		"json":   `{"level":"info","time":"2026-11-21T07:55:42Z","msg":"request done","request_id":"550e8400-e29b-41d4-a716-446655440000","status":200,"bytes":612,"peer":"203.0.113.7"}`,
		"hit":    `POST /pay card=4111111111111111 Authorization: Bearer abcdefghijklmnop0123456789`,
	}
	for _, with := range []struct {
		name string
		m    *Matcher
	}{{"off", New(tenSecrets())}, {"cards", shapesOnly(Cards)}, {"tokens", shapesOnly(Tokens)}, {"both", shapesOnly(Cards | Tokens)}} {
		for name, line := range lines {
			b.Run(with.name+"/"+name, func(b *testing.B) {
				in := []byte(line)
				b.SetBytes(int64(len(in)))
				cpu(b, func() { with.m.Mask(in, s) })
			})
		}
	}
}

func TestOpenShapes(t *testing.T) {
	l := OpenShapes(Cards)
	l.Refresh()
	if got := string(l.Mask([]byte("4111111111111111"), new(Scratch))); got != "***card***1111" {
		t.Error(got)
	}
	if diff := cmp.Diff(Found{Patterns: []string{"cards"}}, l.Found()); diff != "" {
		t.Error(diff)
	}
	with := Open(Sources{Environ: []string{"DB_PASSWORD=correct-horse"}, Shapes: Tokens})
	if got := string(with.Mask([]byte("correct-horse Bearer abcdefgh12345678"), new(Scratch))); got != "***DB_PASSWORD*** Bearer ***token***" {
		t.Error(got)
	}
	if diff := cmp.Diff(Found{Hidden: []string{"DB_PASSWORD"}, Patterns: []string{"tokens"}}, with.Found()); diff != "" {
		t.Error(diff)
	}
}
