// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// caddyNames are the attributes of a line of Caddy's access log (caddyhttp, package logging), besides its own keys.
var caddyNames = []string{
	"client.address", "network.peer.address", "network.peer.port", "user.name", "http.request.method", "server.address",
	"url.path", "url.query", "network.protocol.version", "http.request.header.referer", "user_agent.original", "http.request.body.size",
	"http.response.status_code", "http.response.body.size",
}

// caddyMember reads a member of a line whose logger is http.log.access. What has no name in the conventions stays as it is.
func (p *Parser) caddyMember(rec *otlp.Record, k *key, v otlp.Value) bool {
	name := ""
	switch k.text {
	case "request":
		return v.Kind == otlp.KindMap && p.caddyRequest(rec, k, v)
	case "status":
		name = "http.response.status_code"
	case "size":
		name = "http.response.body.size"
	case "bytes_read":
		name = "http.request.body.size"
	case "user_id":
		if v.Kind == otlp.KindString && len(v.Bytes) == 0 {
			return true
		}
		name = "user.name"
	default:
		return false
	}
	p.add(rec, name, v)
	return true
}

// caddyRequest makes attributes of the object request; what is left of it stays under its name.
func (p *Parser) caddyRequest(rec *otlp.Record, k *key, v otlp.Value) bool {
	left := v.Map[:0]
	for _, kv := range v.Map {
		if kv.Key == "headers" && kv.Value.Kind == otlp.KindMap {
			kv.Value.Map = p.caddyHeaders(rec, kv.Value.Map)
			if len(kv.Value.Map) > 0 {
				left = append(left, kv)
			}
			continue
		}
		if kv.Value.Kind != otlp.KindString || !p.caddyString(rec, kv.Key, kv.Value.Bytes) {
			left = append(left, kv)
		}
	}
	if v.Map = left; len(left) > 0 {
		p.keep(rec, k, &v)
	}
	return true
}

func (p *Parser) caddyString(rec *otlp.Record, key string, value []byte) bool {
	switch key {
	case "client_ip":
		p.add(rec, "client.address", otlp.Text(value))
	case "remote_ip":
		p.add(rec, "network.peer.address", otlp.Text(value))
	case "remote_port":
		r := reader{value, true}
		port := r.number()
		if !r.ok || len(r.b) > 0 {
			return false
		}
		p.add(rec, "network.peer.port", otlp.Int(port))
	case "proto":
		version, ok := bytes.CutPrefix(value, []byte("HTTP/"))
		if !ok {
			return false
		}
		p.add(rec, "network.protocol.version", otlp.Text(version))
	case "method":
		p.add(rec, "http.request.method", otlp.Text(value))
	case "host":
		p.add(rec, "server.address", otlp.Text(value))
	case "uri":
		path, query, ok := cutByte(value, '?')
		p.add(rec, "url.path", otlp.Text(path))
		if ok {
			p.add(rec, "url.query", otlp.Text(query))
		}
	default:
		return false
	}
	return true
}

// caddyHeaders takes the two headers that have a name of their own, and returns the others.
func (p *Parser) caddyHeaders(rec *otlp.Record, headers []otlp.KeyValue) []otlp.KeyValue {
	left := headers[:0]
	for _, kv := range headers {
		one := kv.Value.Kind == otlp.KindArray && len(kv.Value.Array) == 1
		switch {
		case one && kv.Key == "User-Agent":
			p.add(rec, "user_agent.original", kv.Value.Array[0])
		case one && kv.Key == "Referer":
			p.add(rec, "http.request.header.referer", kv.Value.Array[0])
		default:
			left = append(left, kv)
		}
	}
	return left
}
