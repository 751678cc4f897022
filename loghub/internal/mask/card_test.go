// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"strings"
	"testing"
)

// testCards are numbers that schemes and payment providers publish for tests.
var testCards = []string{
	"4111111111111111", "4012888888881881", "4242424242424242", // Visa
	"5555555555554444", "5105105105105100", "2223003122003222", "2720992593319364", // Mastercard
	"378282246310005", "371449635398431", // American Express
	"30569309025904", "38520000023237", "36227206271667", // Diners Club
	"6011111111111117", "6011000990139424", "6445644564456445", // Discover
	"3530111333300000", "3566002020360505", // JCB
	"6200000000000005", "6205500000000000004", // UnionPay
	"6759649826438453", "5018000000000009", // Maestro
	"2200000000000004", // Mir
}

func TestCards(t *testing.T) {
	m := shapesOnly(Cards)
	for _, number := range testCards {
		want := "***card***" + number[len(number)-4:]
		for _, around := range []string{"%", "paid with % today", `{"pan":"%"}`, "card=%&cvc=1", "(%)", "a,%,b", "%.", "é%é", "x_%", "№%:", ";%=25121010000012345678?", "\t%\n"} {
			line := strings.ReplaceAll(around, "%", number)
			if got := hide(m, line); got != strings.ReplaceAll(around, "%", want) {
				t.Errorf("%q: %q", line, got)
			}
		}
		wrong := number[:len(number)-1] + string('0'+(number[len(number)-1]-'0'+1)%10)
		if got := hide(m, "n "+wrong); got != "n "+wrong {
			t.Errorf("%q, which fails at the check digit: %q", wrong, got)
		}
	}
}

func TestCardsInGroups(t *testing.T) {
	m := shapesOnly(Cards)
	for line, want := range map[string]string{
		"4111 1111 1111 1111":                    "***card***1111",
		"card: 4111-1111-1111-1111.":             "card: ***card***1111.",
		"q=4111+1111+1111+1111&x=1":              "q=***card***1111&x=1",
		"q=4111%201111%201111%201111&x=1":        "q=***card***1111&x=1",
		"3782 822463 10005":                      "***card***0005",
		"3782-8224-6310-005":                     "***card***0-005",
		"3056 930902 5904":                       "***card***5904",
		"620550 0000000000004":                   "***card***0004",
		"6205 5000 0000 0000 004":                "***card***0 004",
		"2 4111 1111 1111 1111 2028":             "2 ***card***1111 2028",
		"4111 1111 1111 1111 123":                "***card***1111 123",
		"7 4111 1111 1111 1111 12/28 737":        "7 ***card***1111 12/28 737",
		"4111111111111111 5555555555554444":      "***card***1111 ***card***4444",
		"4111 1111 1111 1111, 3782 822463 10005": "***card***1111, ***card***0005",
		"%B4111111111111111^DOE/JOHN^2512":       "%B***card***1111^DOE/JOHN^2512",
		"visa 4222222222222":                     "visa ***card***2222", // 13 digits, which says what it is
		"card_number=4222222222222":              "card_number=***card***2222",
		"4222222222222":                          "4222222222222",
		"company 4222222222222":                  "company 4222222222222",
		"pan:4222 222 222 222":                   "pan:***card***2 222",
		"+4111111111111111":                      "+***card***1111",
		"1234567890123 4111111111111111 12":      "1234567890123 ***card***1111 12",
	} {
		if got := hide(m, line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
