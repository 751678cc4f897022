// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import "bytes"

// minShaped is how long a token is at least that shows by itself what it is.
const minShaped = 20

// tokenShape is how the tokens of somebody look.
type tokenShape struct {
	head  string
	least int  // bytes behind it
	exact bool // and no more
	body  body
}

// body is what tokens have behind their heads.
type body uint8

const (
	alnum  body = iota // letters and digits
	word               // and _ and -
	dotted             // and dots
	upper              // capital letters and digits
)

func (b body) takes(c byte) bool {
	switch b {
	case upper:
		return c >= 'A' && c <= 'Z' || isDigit(c)
	case word:
		return classes[c]&(letter|digit) != 0 || c == '_' || c == '-'
	case dotted:
		return classes[c]&(letter|digit) != 0 || c == '_' || c == '-' || c == '.'
	}
	return classes[c]&(letter|digit) != 0
}

// tokenShapes are as their makers describe them, or make them.
var tokenShapes = []tokenShape{
	{"ghp_", 36, false, alnum}, {"gho_", 36, false, alnum}, {"ghu_", 36, false, alnum}, // GitHub
	{"ghs_", 36, false, alnum}, {"ghr_", 36, false, alnum}, //
	{"github_pat_", 36, false, word},
	{"glpat-", 20, false, dotted}, {"gldt-", 20, false, dotted}, // GitLab
	{"glrt-", 20, false, dotted}, {"glptt-", 20, false, dotted}, //
	{"glcbt-", 20, false, dotted}, {"glimt-", 20, false, dotted},
	{"glsoat-", 20, false, dotted}, {"glagent-", 20, false, dotted},
	{"glft-", 20, false, dotted}, {"gloas-", 20, false, dotted}, {"GR1348941", 20, false, word},
	{"xoxb-", 16, false, word}, {"xoxp-", 16, false, word}, {"xoxa-", 16, false, word}, {"xoxr-", 16, false, word}, // Slack
	{"xoxs-", 16, false, word}, {"xoxe-", 16, false, word}, {"xoxc-", 16, false, word},
	{"xoxd-", 16, false, word}, {"xapp-", 16, false, word},
	{"sk_live_", 16, false, alnum}, {"sk_test_", 16, false, alnum}, // Stripe
	{"rk_live_", 16, false, alnum}, {"rk_test_", 16, false, alnum}, //
	{"whsec_", 24, false, alnum},
	{"AKIA", 16, true, upper}, {"ASIA", 16, true, upper}, // AWS
	{"AIza", 35, true, word}, {"GOCSPX-", 28, false, word}, {"ya29.", 20, false, dotted}, // Google
	{"sk-ant-", 20, false, word}, {"sk-proj-", 20, false, word}, {"sk-svcacct-", 20, false, word},
	{"sk-admin-", 20, false, word}, {"sk-", 48, true, alnum},
	{"npm_", 36, true, alnum}, {"pypi-AgEI", 50, false, word}, {"hf_", 34, true, alnum},
	{"dckr_pat_", 27, false, word}, {"dckr_oat_", 27, false, word},
	{"dop_v1_", 64, true, alnum}, {"doo_v1_", 64, true, alnum}, {"dor_v1_", 64, true, alnum}, // DigitalOcean
	{"shpat_", 32, true, alnum}, {"shpss_", 32, true, alnum}, // Shopify
	{"shpca_", 32, true, alnum}, {"shppa_", 32, true, alnum}, //
	{"hvs.", 24, false, word}, {"hvb.", 24, false, word}, {"hvr.", 24, false, word}, // Vault
	{"glsa_", 32, false, word}, {"glc_eyJ", 20, false, word}, // Grafana
	{"SG.", 60, false, dotted}, {"dapi", 32, true, alnum}, {"NRAK-", 27, true, upper},
	{"lin_api_", 40, true, alnum}, {"sntrys_", 32, false, word},
	{"ATATT3xFfGF0", 40, false, word}, {"PMAK-", 40, false, word},
	{"sbp_", 40, true, alnum}, {"pscale_tkn_", 32, false, dotted},
	{"AGE-SECRET-KEY-1", 58, true, upper},
}

const jwtHead = "eyJ" // {" in base64

// shapedFirst are the bytes that a shape begins with.
var shapedFirst = func() (first [256]bool) {
	for _, s := range tokenShapes {
		first[s.head[0]] = true
	}
	first[jwtHead[0]] = true
	return first
}()

// shaped is where the token ends that begins at line[at], in the run line[from:to]; 0: there is none.
func shaped(line []byte, from, at, to int, open bool) int {
	rest := line[at:to]
	if bytes.HasPrefix(rest, []byte(jwtHead)) && (at == from || !dotted.takes(line[at-1])) {
		return at + jwt(rest, open)
	}
	for i := range tokenShapes {
		s := &tokenShapes[i]
		if len(rest) < len(s.head) || rest[0] != s.head[0] || string(rest[:len(s.head)]) != s.head {
			continue
		}
		n := len(s.head)
		for n < len(rest) && s.body.takes(rest[n]) && (!s.exact || n <= len(s.head)+s.least) {
			n++
		}
		switch {
		case open && n == len(rest):
			return to
		case n-len(s.head) < s.least, s.exact && n-len(s.head) > s.least:
		case s.exact && n < len(rest) && word.takes(rest[n]): // part of something longer
		default:
			return at + n
		}
	}
	return 0
}

// Parts of a JSON web token.
const (
	minHeader = 12 // of {"alg":"…"} in base64
	minParts  = 2  // dots (RFC 7519, section 3; five parts where it is encrypted)
)

// jwt is the length of the web token that b begins with.
func jwt(b []byte, open bool) int {
	n, dots, header := 0, 0, 0
	for ; n < len(b) && dotted.takes(b[n]); n++ {
		if b[n] == '.' {
			if dots++; dots == 1 {
				header = n
			}
		}
	}
	for n > 0 && b[n-1] == '.' && dots > minParts { // of the sentence
		n--
		dots--
	}
	if dots >= minParts && header >= minHeader || open && n == len(b) {
		return n
	}
	return 0
}
