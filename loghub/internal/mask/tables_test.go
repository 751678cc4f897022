// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// tenSecrets are what a container has.
func tenSecrets() (values []Value) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 10 {
		b := make([]byte, 12+4*i)
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		values = append(values, Value{fmt.Sprintf("SECRET_%d", i), base64.StdEncoding.EncodeToString(b)})
	}
	values[0].Text, values[1].Text, values[2].Text = "Tr0ub4dor&3", "correct horse battery", "s3cr3t!$%pass"
	return values
}

// TestTables: the budgets of memory.
func TestTables(t *testing.T) {
	m := New(tenSecrets())
	if size := m.size(); size > 128<<10 {
		t.Errorf("ten secrets take %d bytes", size)
	}
	t.Logf("ten secrets: %d bytes, %d patterns, window %d", m.size(), len(m.patterns), m.window)
	r := rand.New(rand.NewPCG(5, 6))
	for _, length := range []int{MinBytes, 64, 300, maxPiece} {
		var many []Value
		for i := range 60000 {
			b := make([]byte, length)
			for j := range b {
				b[j] = '!' + byte(r.Uint32()%90)
			}
			many = append(many, Value{fmt.Sprint(i), string(b)})
			if i*length > 2<<20 {
				break
			}
		}
		m, room := build(many, 0)
		if size := m.size(); size > 8<<20 || room == 0 || room == len(many) {
			t.Errorf("%d values of %d bytes take %d bytes, %d are hidden", len(many), length, size, room)
		}
		t.Logf("%d bytes: %d of %d values, %d bytes of tables", length, room, len(many), m.size())
		if got := hide(m, "x "+many[room-1].Text+" "+many[room].Text); got != "x ***"+many[room-1].Name+"*** "+many[room].Text {
			t.Errorf("at the limit: %.200q", got)
		}
	}
}

// TestScratch: what a long line needed is given back.
func TestScratch(t *testing.T) {
	m := New(named("A", "hunter2hunter2", "with space"))
	s := new(Scratch)
	line := []byte(strings.Repeat("x%20y", 1<<18) + "hunter2hunter2")
	if got := m.Mask(line, s); !bytes.HasSuffix(got, []byte("y***A***")) {
		t.Errorf("%.40q…", got[len(got)-40:])
	}
	if n := cap(s.out) + cap(s.decoded[0]) + cap(s.decoded[1]); n > 3*keepScratch {
		t.Errorf("%d bytes are kept", n)
	}
	line = []byte("a hunter2hunter2 b%20c \\\" d")
	allocs := testing.AllocsPerRun(100, func() { m.Mask(line, s) })
	if allocs > 0 {
		t.Errorf("%v allocations for a line", allocs)
	}
}

// cpu reports the processor's time for one run: of a machine that others use too, the clock tells little.
func cpu(b *testing.B, run func()) {
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	for range b.N {
		run()
	}
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	b.ReportMetric(float64(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano())/float64(b.N), "cpu-ns/op")
}

func BenchmarkMask(b *testing.B) {
	m, s := New(tenSecrets()), new(Scratch)
	for name, line := range map[string]string{
		"access":  `203.0.113.7 - - [21/Nov/2026:07:55:42 +0000] "GET /index.html?a=1 HTTP/1.1" 200 612 "https://example.net/" "Mozilla/5.0 (X11; Linux x86_64) Gecko"`,
		"percent": `203.0.113.7 - - [21/Nov/2026:07:55:42 +0000] "GET /a%20b/index.html?q=x%2Fy HTTP/1.1" 200 612 "https://example.net/" "Mozilla/5.0 (X11; Linux)"`,
		"json":    `{"level":"info","time":"2026-11-21T07:55:42Z","msg":"said \"hello\" to shop","path":"C:\\data\\x","status":200,"bytes":612,"peer":"203.0.113.7"}`,
		"hit":     `connecting to postgres://shop:correct%20horse%20battery@db:5432/shop?sslmode=disable&connect_timeout=10&application_name=shop-worker-1`,
		"base64":  strings.Repeat("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo", 4),
	} {
		b.Run(name, func(b *testing.B) {
			in := []byte(line)
			b.SetBytes(int64(len(in)))
			cpu(b, func() { m.Mask(in, s) })
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	values := tenSecrets()
	cpu(b, func() { New(values) })
}

func BenchmarkBuildWorst(b *testing.B) {
	for _, length := range []int{9, 200, maxPiece} {
		var values []Value
		for i := range 6000 {
			values = append(values, Value{fmt.Sprint(i), strings.Repeat(fmt.Sprintf("%x!", uint32(i)*2654435761), length)[:length]})
		}
		b.Run(strconv.Itoa(length), func(b *testing.B) { cpu(b, func() { New(values) }) })
	}
}
