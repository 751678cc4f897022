// SPDX-License-Identifier: AGPL-3.0-or-later

package template_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// markup is what a parser of XML or HTML found, in order: "<name", "@name=value", "text", "!comment", ">".
func markup(parts ...string) []string { return parts }

func inText(name string) func(string) any {
	return func(v string) any {
		if v == "" {
			return markup("<"+name, ">")
		}
		return markup("<"+name, v, ">")
	}
}

var xmlPlaces = []place{
	{`<a>{{v}}</a>`, inText("a")},
	{`<a>x{{v}}y</a>`, func(v string) any { return markup("<a", "x"+v+"y", ">") }},
	{`<a>x]]{{v}}</a>`, func(v string) any { return markup("<a", "x]]"+v, ">") }},
	{`<a>{{v}}{{v}}</a>`, func(v string) any { return inText("a")(v + v) }},
	{`<a b="{{v}}"/>`, func(v string) any { return markup("<a", "@b="+v, ">") }},
	{`<a b='x{{v}}y'/>`, func(v string) any { return markup("<a", "@b=x"+v+"y", ">") }},
	{`<a b="1" c='{{v}}'></a>`, func(v string) any { return markup("<a", "@b=1", "@c="+v, ">") }},
	{`<!-- > ' --><a>{{v}}</a>`, func(v string) any { return append(markup("! > ' "), inText("a")(v).([]string)...) }},
	{`<?x y='?><a>{{v}}</a>`, func(v string) any { return append(markup("?y='"), inText("a")(v).([]string)...) }},
	{"<!DOCTYPE a [<!ENTITY b '>'>]><a>{{v}}</a>", func(v string) any {
		return append(markup("D"), inText("a")(v).([]string)...)
	}},
	{`<a><![CDATA[<{{v}}]]></a>`, func(v string) any { return markup("<a", "<"+v, ">") }},
	{`<a><!--{{v}}--></a>`, func(v string) any { return markup("<a", "!"+v, ">") }},
	{`<{{v}}/>`, func(v string) any { return markup("<"+v, ">") }},
	{`<a {{v}}="1"/>`, func(v string) any { return markup("<a", "@"+v+"=1", ">") }},
	{`<a x{{v}}="1"/>`, func(v string) any { return markup("<a", "@x"+v+"=1", ">") }},
	{`<a>&amp;{{v}}</a>`, func(v string) any { return markup("<a", "&"+v, ">") }},
	{"<!DOCTYPE a [<!ENTITY b '{{v}}'>]><a/>", nil},
	{`<a b={{v}}/>`, nil},
}

func readXML(out []byte) (any, error) {
	var found []string
	text := ""
	flush := func() {
		if text != "" {
			found = append(found, text)
		}
		text = ""
	}
	for dec := xml.NewDecoder(bytes.NewReader(out)); ; {
		token, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			flush()
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		if data, ok := token.(xml.CharData); ok {
			text += string(data)
			continue
		}
		flush()
		switch token := token.(type) {
		case xml.StartElement:
			found = append(found, "<"+token.Name.Local)
			for _, a := range token.Attr {
				found = append(found, "@"+a.Name.Local+"="+a.Value)
			}
		case xml.EndElement:
			found = append(found, ">")
		case xml.Comment:
			found = append(found, "!"+string(token))
		case xml.ProcInst:
			found = append(found, "?"+string(token.Inst))
		case xml.Directive:
			found = append(found, "D")
		}
	}
}

func TestXML(t *testing.T) {
	prove(t, "xml", xmlPlaces, readXML)
	typed(t, "xml", "<a>{{v}}</a>", map[string]string{"1e3": "1e3", "true": "true", "null": "", "[1]": "error"})
}

func inElement(name string) func(string) any {
	return func(v string) any { return inText(name)(v) }
}

var htmlPlaces = []place{
	{`<p>{{v}}</p>`, inElement("p")},
	{`<p>x{{v}}y</p>`, func(v string) any { return markup("<p", "x"+v+"y", ">") }},
	{`<p>x < {{v}}</p>`, func(v string) any { return markup("<p", "x < "+v, ">") }},
	{`<p>{{v}}{{v}}</p>`, func(v string) any { return inText("p")(v + v) }},
	{`<p title="{{v}}"></p>`, func(v string) any { return markup("<p", "@title="+v, ">") }},
	{`<p title='x{{v}}y'></p>`, func(v string) any { return markup("<p", "@title=x"+v+"y", ">") }},
	{`<p title = "{{v}}" id=a></p>`, func(v string) any { return markup("<p", "@title="+v, "@id=a", ">") }},
	{`<p id=a title="{{v}}"></p>`, func(v string) any { return markup("<p", "@id=a", "@title="+v, ">") }},
	{`<p title=x{{v}}></p>`, func(v string) any { return markup("<p", "@title=x"+v, ">") }},
	{`<p title={{v}}x id=a></p>`, func(v string) any { return markup("<p", "@title="+v+"x", "@id=a", ">") }},
	{`<!-- > " --><p>{{v}}</p>`, func(v string) any { return append(markup(`! > " `), inText("p")(v).([]string)...) }},
	{`<!x '><p>{{v}}</p>`, func(v string) any { return append(markup("!x '"), inText("p")(v).([]string)...) }},
	{`<p><!--x{{v}}--></p>`, func(v string) any { return markup("<p", "!x"+v, ">") }},
	{`<textarea>{{v}}</textarea>`, inElement("textarea")},
	{`<textarea><b>{{v}}</textarea>`, func(v string) any { return markup("<textarea", "<b>"+v, ">") }},
	{`<title>x{{v}}</title>`, func(v string) any { return markup("<title", "x"+v, ">") }},
	{`<pre>{{v}}</pre>`, inElement("pre")},
	{`<script>if (a < b) "</scr"; </script><p>{{v}}</p>`, func(v string) any {
		return append(markup("<script", `if (a < b) "</scr"; `, ">"), inText("p")(v).([]string)...)
	}},
	{`<p x{{v}}=1></p>`, func(v string) any { return markup("<p", "@"+strings.ToLower("x"+v)+"=1", ">") }},
	{`<p>&amp;{{v}}</p>`, func(v string) any { return markup("<p", "&"+v, ">") }},
	{`<p><b>{{v}}</b></p>`, func(v string) any {
		return append(append(markup("<p"), inText("b")(v).([]string)...), ">")
	}},
	{"<p title =\n\n                                             \"{{v}}\"></p>", func(v string) any { return markup("<p", "@title="+v, ">") }},
	{`<p title=a/b"{{v}}></p>`, func(v string) any { return markup("<p", `@title=a/b"`+v, ">") }},
	{`<p title==" b="{{v}}"></p>`, func(v string) any { return markup("<p", `@title=="`, "@b="+v, ">") }},
	{`<script>x = {{v}}</script>`, nil},
	{`<script>x</SCRIPTS> {{v}}</SCRIPT >`, nil},
	{`<script>x = "{{v}}"</script>`, nil},
	{`<script><!-- <script> </script>{{v}}`, nil},
	{`<style>a { color: {{v}} }</style>`, nil},
	{`<iframe>{{v}}</iframe>`, nil},
}

// readHTML parses as a browser does and lists what stands in head and body.
func readHTML(out []byte) (any, error) {
	root, err := html.Parse(bytes.NewReader(out))
	if err != nil {
		return nil, err
	}
	var found []string
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		structure := n.Type == html.DocumentNode || n.Type == html.ElementNode && (n.Data == "html" || n.Data == "head" || n.Data == "body")
		switch {
		case n.Type == html.ElementNode && !structure:
			found = append(found, "<"+n.Data)
			for _, a := range n.Attr {
				found = append(found, "@"+a.Key+"="+a.Val)
			}
		case n.Type == html.TextNode:
			found = append(found, n.Data)
		case n.Type == html.CommentNode:
			found = append(found, "!"+n.Data)
		}
		for child := range n.ChildNodes() {
			walk(child)
		}
		if n.Type == html.ElementNode && !structure {
			found = append(found, ">")
		}
	}
	walk(root)
	return found, nil
}

func TestHTML(t *testing.T) {
	prove(t, "html", htmlPlaces, readHTML)
	typed(t, "html", "<script>{{v}}</script>", map[string]string{"1e3": "1e3", "true": "true", `"x"`: "error", "[1]": "error"})
}
