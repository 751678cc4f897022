// SPDX-License-Identifier: AGPL-3.0-or-later

package join

// stamps are the forms of date and time that lines begin with: 0 stands for a digit, _ for a digit or a blank, A for a letter,
// * for digits if there are any. A fraction and a zone in figures may follow.
var stamps = []string{
	"0000-00-00T00:00:00",
	"0000-00-00 00:00:00",
	"0000-00-00_00:00:00",
	"0000/00/00 00:00:00",
	"00:00:00",
	"00-AAA-0000 00:00:00",
	"00/AAA/0000:00:00:00",
	"00 AAA 0000 00:00:00",
	"0000000000*", // seconds or parts of them since 1970
	"AAA _0 00:00:00",
	"AAA _0 0000 00:00:00",
	"AAA AAA _0 00:00:00",
}

// stamp measures the date and time that a line begins with, and says in which form it stands; 0 if there is none.
func stamp(line []byte) (n int, form string) {
	if len(line) < len("00:00:00") || !digit(line[0]) && !upper(line[0]) {
		return 0, ""
	}
	for _, form := range stamps {
		if n := stampOf(line, form); n > 0 {
			return n, form
		}
	}
	return 0, ""
}

// stampOf measures one of a certain form.
func stampOf(line []byte, form string) int {
	n := 0
	for _, c := range []byte(form) {
		if c == '*' {
			n += digits(line[n:])
			break
		}
		if n == len(line) || !stands(line[n], c) {
			return 0
		}
		n++
	}
	n += fraction(line[n:])
	return n + zone(line[n:])
}

// stands says whether a byte may stand where a form has c.
func stands(b, c byte) bool {
	switch c {
	case '0':
		return digit(b)
	case '_':
		return digit(b) || b == ' '
	case 'A':
		return b|0x20 >= 'a' && b|0x20 <= 'z'
	}
	return b == c
}

// fraction is the size of ".123" or ",123".
func fraction(line []byte) int {
	if len(line) < 2 || line[0] != '.' && line[0] != ',' || !digit(line[1]) {
		return 0
	}
	return 1 + digits(line[1:])
}

// zone is the size of "Z", "+0100" or "+01:00".
func zone(line []byte) int {
	switch {
	case len(line) == 0:
	case line[0] == 'Z':
		return 1
	case line[0] != '+' && line[0] != '-':
	case digits(line[1:]) == 4:
		return 5
	case digits(line[1:]) == 2 && len(line) >= 6 && line[3] == ':' && digits(line[4:]) == 2:
		return 6
	}
	return 0
}
