// SPDX-License-Identifier: AGPL-3.0-or-later

package join

import "bytes"

// julHead says whether a line may be the first of java.util.logging's two: "Nov 21, 2026 7:43:49 PM com.shop.Order place", the
// date in ISO's form too if the class is of a package; the function may lack.
func julHead(line []byte) bool {
	if len(line) < 24 {
		return false
	}
	switch {
	case line[3] == ' ' && line[6] == ',':
		return julDate(line)
	case line[4] == '-' && line[7] == '-' && digit(line[0]):
		return julISO(line)
	}
	return false
}

// julISO reads "2026-11-21 19:43:49.123 +0000 com.shop.Order place", of which all but the first two and the class may lack.
func julISO(line []byte) bool {
	const date = len("2026-11-21 19:43:49")
	at := bytes.IndexByte(line[date:], ' ')
	if at < 0 {
		return false
	}
	rest := line[date+at+1:]
	if zone := zone(rest); zone > 1 && zone < len(rest) && rest[zone] == ' ' {
		rest = rest[zone+1:]
	}
	if len(rest) == 0 || rest[0] < 'a' || rest[0] > 'z' { // packages begin so
		return false
	}
	class, method, two := bytes.Cut(rest, []byte{' '})
	return qualifiedClass(class) && (!two || function(method)) && isoStamp(line) == date+at
}

// julDate reads "Nov 21, 2026 7:43:49 PM " and a class, with or without a function.
func julDate(line []byte) bool {
	n := stampOf(line, "AAA 00, 0000 0:00:00")
	if n == 0 {
		n = stampOf(line, "AAA 00, 0000 00:00:00")
	}
	if n == 0 {
		return false
	}
	rest := line[n:]
	if has(rest, "\u202f") { // from Java 20 on, in some formats
		rest = rest[len("\u202f"):]
	} else if has(rest, " ") {
		rest = rest[1:]
	}
	if !has(rest, "AM ") && !has(rest, "PM ") {
		return false
	}
	class, method, two := bytes.Cut(rest[len("AM "):], []byte{' '})
	n, _ = className(class)
	return n > 0 && n == len(class) && (!two || function(method))
}

func isoStamp(line []byte) int {
	if n := stampOf(line, "0000-00-00T00:00:00"); n > 0 {
		return n
	}
	return stampOf(line, "0000-00-00 00:00:00")
}

// qualifiedClass reads the full name of a class.
func qualifiedClass(word []byte) bool {
	n, dots := className(word)
	return n > 0 && n == len(word) && dots && !digit(word[0]) && word[n-1] != '.'
}

// function reads the name of a function in Java: "place", "<init>", "lambda$place$0".
func function(word []byte) bool {
	if len(word) > 2 && word[0] == '<' && word[len(word)-1] == '>' {
		word = word[1 : len(word)-1]
	}
	for _, c := range word {
		if !wordy(c) {
			return false
		}
	}
	return len(word) > 0 && !digit(word[0])
}

// julLevel says whether a line is the second of the two: "INFO: order 7 stored".
func julLevel(line []byte) bool {
	i := bytes.IndexByte(line[:min(len(line), len("WARNING:"))], ':')
	if i < 0 || i+1 < len(line) && line[i+1] != ' ' {
		return false
	}
	switch string(line[:i]) {
	case "SEVERE", "WARNING", "INFO", "CONFIG", "FINE", "FINER", "FINEST":
		return true
	}
	return false
}
