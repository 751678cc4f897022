// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

func TestSplitPerfdata(t *testing.T) {
	at := func(f float64) *float64 { return &f }
	for name, test := range map[string]struct {
		output, text string
		values       []health.Value
	}{
		"none": {"OK - fine\n", "OK - fine", nil},
		"many lines": {"DISK OK - free space: / 3326 MB | /=2643MB;5948;5958;0;5968\n/boot 68 MB\n/home 69357 MB | /boot=68B;88;93;0;98\n/home=69357c\n",
			"DISK OK - free space: / 3326 MB /boot 68 MB /home 69357 MB", []health.Value{
				{Name: "/", Value: 2643 << 20, Unit: "By", Warn: at(5948 << 20), Fail: at(5958 << 20)},
				{Name: "/boot", Value: 68, Unit: "By", Warn: at(88), Fail: at(93)},
				{Name: "/home", Value: 69357, Unit: "c"},
			}},
		"quotes": {"OK|'free space = it''s'=12% 'b'=1 c=2;;", "OK", []health.Value{
			{Name: "free_space_it_s", Value: 0.12, Unit: "1"}, {Name: "b", Value: 1}, {Name: "c", Value: 2}}},
		"ranges": {"OK|a=5;10:20;~:30 b=5;10:;@10:20 c=5;@10:;10 d=5;@10;:7", "OK", []health.Value{
			{Name: "a", Value: 5, Warn: at(20), Fail: at(30)}, {Name: "b", Value: 5},
			{Name: "c", Value: 5, Warn: at(10), Fail: at(10)}, {Name: "d", Value: 5, Fail: at(7)}}},
		"units": {"OK|a=1.5s b=20ms c=300us d=-1e3 e=50% f=2KiB g=1GB h=3.5C i=7foo", "OK", []health.Value{
			{Name: "a", Value: 1.5, Unit: "s"}, {Name: "b", Value: 0.02, Unit: "s"}, {Name: "c", Value: 300 * 1e-6, Unit: "s"},
			{Name: "d", Value: -1000}, {Name: "e", Value: 0.5, Unit: "1"}, {Name: "f", Value: 2048, Unit: "By"},
			{Name: "g", Value: 1 << 30, Unit: "By"}, {Name: "h", Value: 3.5, Unit: "C"}, {Name: "i", Value: 7, Unit: "foo"}}},
		"unknown, broken": {"OK|a=U b= c d='x' =5 '' 'e=1", "OK", nil},
		"half broken":     {"OK|time 3 =4 x=; 'a b'=1;2;3 junk b=0x10 c=1,5 d=NaN e=2", "OK", []health.Value{{Name: "a_b", Value: 1, Warn: at(2), Fail: at(3)}, {Name: "b", Unit: "x10"}, {Name: "c", Value: 1, Unit: ",5"}, {Name: "e", Value: 2}}},
		"names":           {"OK|Load.1=1 LOAD.1=2 Füße=3 ___=4 " + strings.Repeat("x", 100) + "=5 a::b::c=6", "OK", []health.Value{{Name: "load.1", Value: 1}, {Name: "f_e", Value: 3}, {Name: strings.Repeat("x", 64), Value: 5}, {Name: "a_b_c", Value: 6}}},
		"infinite":        {"OK|a=1e308PB b=1e999 c=1;1e308;2", "OK", []health.Value{{Name: "c", Value: 1, Warn: at(1e308), Fail: at(2)}}},
	} {
		t.Run(name, func(t *testing.T) {
			text, values := splitPerfdata(test.output)
			if got := health.CleanText(text); got != test.text {
				t.Errorf("text %q, want %q", got, test.text)
			}
			if diff := cmp.Diff(test.values, values); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, values := splitPerfdata("|" + strings.Repeat("a=1 ", 3) + strings.Join(strings.Split("bcdefghijklmnopqrstuvwxyz", ""), "=1 ") + "=1"); len(values) != health.MaxValues {
		t.Errorf("%d values", len(values))
	}
}

// TestExecNagios runs what says what a plugin says.
func TestExecNagios(t *testing.T) {
	check := shell(`echo "USERS WARNING - 9 users | users=9;5;10;0"; echo more; exit 1`)
	check.Convention = setting.ConventionNagios
	got := look(t, check, 10e9)
	expect(t, got, health.Warn, "USERS WARNING - 9 users more")
	if v := measured(t, got, "users"); v.Value != 9 || *v.Warn != 5 || *v.Fail != 10 {
		t.Errorf("%+v", v)
	}
	acceptable(t, got)
}

func FuzzPerfdata(f *testing.F) {
	f.Add("DISK OK | /=2643MB;5948;5958;0;5968 'a ''b'=12%;@10:20;~:30\nmore | x=U")
	f.Fuzz(func(t *testing.T, output string) {
		_, values := splitPerfdata(output)
		node := health.Node{Kind: health.KindCheck, Name: "x", Values: values}
		if err := node.Accept(health.ContainerLimits); err != nil {
			t.Errorf("%q: %v", output, err)
		}
		for _, v := range values {
			if v.Value-v.Value != 0 || v.Warn != nil && *v.Warn-*v.Warn != 0 || v.Fail != nil && *v.Fail-*v.Fail != 0 {
				t.Errorf("%q: %+v is not finite", output, v)
			}
		}
	})
}
