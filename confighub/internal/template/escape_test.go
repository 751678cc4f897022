// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEscape(t *testing.T) {
	const odd = `{"v":"a \"b\" 'c' $d \\ ` + "`e`" + ` #f","n":1.50,"w":"plain","nl":"x\ny","e":"","b":true,"z":null,"l":[1,"a"],"o":{"k":null},"t":"true","amp":"<&>"}`
	tests := []struct{ format, template, want string }{
		{"none", "{{v}}{{nl}}", "a \"b\" 'c' $d \\ `e` #fx\ny"},
		{"html", "{{amp}}", "&lt;&amp;&gt;"},
		{"json", `{"a": {{v}}, "n": {{n}}, "b":{{b}}, "z":{{z}}, "l":{{l}}, "o":{{o}}, {{w}}: 1}`,
			`{"a": "a \"b\" 'c' $d \\ ` + "`e`" + ` #f", "n": 1.50, "b":true, "z":{{NULL}}, "l":[1,"a"], "o":{"k":null}, "plain": 1}`},
		{"json", `{"a": "x {{v}} {{nl}}"}`, `{"a": "x a \"b\" 'c' $d \\ ` + "`e`" + ` #f x\ny"}`},
		{"json", `{"a": [{{#l}}{{.}}{{^@last}}, {{/@last}}{{/l}}]}`, `{"a": [1, "a"]}`},
		{"json", `{"a": a-{{w}}}`, `error: t:1:9: w: stands in the middle of a word: put quotes around the whole ("a-{{x}}")`},
		{"json", "// {{w}}\n{}", "// plain\n{}"},
		{"json", "// {{nl}}\n{}", "error: t:1:4: nl: holds a line break, which a comment cannot carry"},
		{"xml", `<a b="{{v}}{{nl}}">{{amp}} {{nl}}</a>`, "<a b=\"a &quot;b&quot; &#39;c&#39; $d \\ `e` #fx&#10;y\">&lt;&amp;&gt; x\ny</a>"},
		{"xml", "<a {{amp}}/>", "error: t:1:4: amp: holds the character <, which a tag outside of quotes cannot carry"},
		{"xml", "<!-- {{amp}} -->", "error: t:1:6: amp: holds the character >, which a comment, a CDATA section or an instruction cannot carry"},
		{"shell", `A={{v}} B="{{v}}" C='{{v}}' D={{w}} E={{e}}`,
			`A='a "b" '\''c'\'' $d \ ` + "`e`" + ` #f' B="a \"b\" 'c' \$d \\ ` + "\\`e\\`" + ` #f" C='a "b" '\''c'\'' $d \ ` + "`e`" + ` #f' D=plain E=''`},
		{"shell", "echo x{{w}} x{{nl}}", "error: t:1:14: nl: holds a line break, which the middle of a word (put double quotes around the whole) cannot carry"},
		{"shell", `echo "$(cat {{nl}})"`, "error: t:1:13: nl: holds a line break, which a place in or behind backquotes, $( ), ${ } or $' ' (set a variable before, and use that) cannot carry"},
		{"shell", "cat <<X\n{{w}} {{amp}}\nX\n", "cat <<X\nplain <&>\nX\n"},
		{"shell", "# {{nl}}", "error: t:1:3: nl: holds a line break, which a comment cannot carry"},
		{"env", "A={{w}}\nB={{amp}}\nC={{nl}}\nD=\"{{v}}\"\nE={{e}}\n", "A=plain\nB='<&>'\nC=\"x\\ny\"\nD=\"a \\\"b\\\" 'c' \\$d \\\\ \\`e\\` #f\"\nE=\n"},
		{"env", "A=x{{amp}}", "error: t:1:4: amp: holds the character <, which a part of a value (put double quotes around the whole) cannot carry"},
		{"nginx", "listen {{n}};\nadd_header X {{amp}} \"{{nl}}\" {{e}};", "listen 1.50;\nadd_header X <&> \"x\\ny\" \"\";"},
		{"nginx", "root /srv/{{w}};\nreturn 200 {{nl}};", "root /srv/plain;\nreturn 200 \"x\\ny\";"},
		{"nginx", "root /srv/{{nl}};", "error: t:1:11: nl: holds a line break, which the middle of a token (put double quotes around the whole) cannot carry"},
		{"nginx", "root {{v}};", "error: t:1:6: v: holds the character $, for which nginx has no escape: where a variable is meant write {{{name}}}; " +
			"for the character itself write ${dollar} in the template and declare it at the http level: geo $dollar { default \"$\"; }"},
		{"nginx", "root {{{v}}};", "root a \"b\" 'c' $d \\ `e` #f;"},
		{"yaml", "a: {{w}}\nb: {{n}}\nc: \"{{v}}\"\nd: x:{{t}}\n", "a: plain\nb: 1.50\nc: \"a \\\"b\\\" 'c' $d \\\\ `e` #f\"\nd: x:true\n"},
		{"yaml", "a: {{t}}", `a: "true"`},
		{"yaml", "a: {{nl}}", `a: "x\ny"`},
		{"yaml", "a: {{amp}}", `a: "<&>"`},
		{"toml", "a = {{w}}", `a = "plain"`},
		{"toml", "a = \"{{w}}\"\nb = {{n}}", "a = \"plain\"\nb = 1.50"},
		{"ini", "a = {{amp}}\nb = {{nl}}", "error: t:1:5: amp: holds the character <, which an INI file outside of quotes cannot carry\nt:2:5: nl: holds a line break, which an INI file cannot carry"},
		{"properties", "a={{w}}", "a=plain"},
	}
	for _, tt := range tests {
		t.Run(tt.format+" "+tt.template, func(t *testing.T) {
			got, err := Render(from(map[string]string{"t": tt.template}), "t", parseData(t, odd), Options{Format: tt.format})
			text := string(got.Output)
			if err != nil {
				text = "error: " + err.Error()
			}
			if diff := cmp.Diff(strings.ReplaceAll(tt.want, "{{NULL}}", "null"), text); diff != "" {
				t.Error(diff)
			}
		})
	}
}
