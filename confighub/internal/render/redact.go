// SPDX-License-Identifier: AGPL-3.0-or-later

package render

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"slices"
	"strings"

	"cloud4.internal/hub/internal/initctl"
)

const (
	// minSecret is the shortest text that is hidden: a shorter one stands everywhere.
	minSecret = 4
	// minLine is the shortest line that is hidden of a secret of several, as of a key in PEM.
	minLine = 8
	// mask stands for what is hidden.
	mask = "***"
)

// redactions are the texts that no log may show for the sake of these secrets: each as it is, line by line, and as it
// is quoted in JSON, URLs, HTML and base64. The longest come first, so that a secret within a longer one does not leave
// the rest of that behind.
func redactions(secrets []initctl.Secret) []string {
	var all []string
	hide := func(text string, least int) {
		if len(text) >= least {
			all = append(all, text)
		}
	}
	for _, s := range secrets {
		secret := s.Value
		hide(secret, minSecret)
		if len(secret) < minSecret {
			continue
		}
		for line := range strings.Lines(secret) {
			hide(strings.TrimSpace(line), minLine)
		}
		quoted, _ := json.Marshal(secret) // of a string it has no error
		hide(string(quoted[1:len(quoted)-1]), minSecret)
		hide(strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(secret), minSecret)
		hide(url.QueryEscape(secret), minSecret)
		hide(url.PathEscape(secret), minSecret)
		hide(html.EscapeString(secret), minSecret)
		// Without padding, which is not always written.
		hide(base64.RawStdEncoding.EncodeToString([]byte(secret)), minSecret)
		hide(base64.RawURLEncoding.EncodeToString([]byte(secret)), minSecret)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.Compact(all)
}

// redacted is the problems without these texts.
func (p Problems) redacted(texts []string) Problems {
	var pairs []string
	for _, text := range texts {
		pairs = append(pairs, text, mask)
	}
	replacer := strings.NewReplacer(pairs...)
	clean := make(Problems, len(p))
	for i, line := range p {
		clean[i] = replacer.Replace(line)
	}
	return clean
}
