//! Redis's glob patterns, on bytes: KEYS, SCAN MATCH, PSUBSCRIBE, CONFIG GET, ACL patterns.
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any bytes, also none if the whole text is not empty |
//! | `?` | one byte |
//! | `[abc]`, `[a-z]`, `[^a]` | one byte of the class, or not of it; `\` escapes inside |
//! | `\x` | the byte `x`; at the end of the pattern the backslash itself |
//! | other | itself |
//!
//! Every element but `*` takes exactly one byte, so it is enough to go back to the last `*`: the
//! match needs no recursion and at most pattern × text steps.

/// Whether `pattern` matches the whole of `text`.
///
/// Redis: an empty text is matched by the empty pattern alone. `ignore_case` folds ASCII letters.
/// **Cost**: at most pattern × text steps; linear without `*`.
pub fn matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let mut p = 0;
    let mut t = 0;
    // Where to go on after a mismatch: behind the last star, and the text it stands before.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            if p == pattern.len() {
                return true;
            }
            retry = Some((p, t));
            continue;
        }
        let Some(&byte) = text.get(t) else {
            return p == pattern.len();
        };
        if p < pattern.len() {
            let (hit, next) = one(pattern, p, byte, ignore_case);
            if hit {
                p = next;
                t += 1;
                continue;
            }
        }
        let Some((star, from)) = retry else {
            return false;
        };
        retry = Some((star, from + 1));
        p = star;
        t = from + 1;
    }
}

/// Whether the element at `pattern[p]`, which is not a star, takes `byte`; and where the next
/// element begins.
fn one(pattern: &[u8], p: usize, byte: u8, ignore_case: bool) -> (bool, usize) {
    match pattern[p] {
        b'?' => (true, p + 1),
        b'[' => class(pattern, p + 1, byte, ignore_case),
        b'\\' if p + 1 < pattern.len() => (same(pattern[p + 1], byte, ignore_case), p + 2),
        literal => (same(literal, byte, ignore_case), p + 1),
    }
}

/// A class whose `[` stands before `p`. Redis: a class that is not closed ends with the pattern,
/// `]` may end a range, and a range may be given backwards.
fn class(pattern: &[u8], mut p: usize, byte: u8, ignore_case: bool) -> (bool, usize) {
    let negated = pattern.get(p) == Some(&b'^');
    if negated {
        p += 1;
    }
    let mut hit = false;
    loop {
        match pattern[p..] {
            [] => return (hit != negated, p),
            [b'\\', escaped, ..] => {
                hit |= same(escaped, byte, ignore_case);
                p += 2;
            }
            [b']', ..] => return (hit != negated, p + 1),
            [from, b'-', to, ..] => {
                let fold = |byte: u8| if ignore_case { byte.to_ascii_lowercase() } else { byte };
                let (from, to) = (fold(from.min(to)), fold(from.max(to)));
                hit |= (from..=to).contains(&fold(byte));
                p += 3;
            }
            [literal, ..] => {
                hit |= same(literal, byte, ignore_case);
                p += 1;
            }
        }
    }
}

/// Whether two bytes are equal.
fn same(a: u8, b: u8, ignore_case: bool) -> bool {
    a == b || ignore_case && a.eq_ignore_ascii_case(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yes(pattern: &str, text: &str) {
        assert!(matches(pattern.as_bytes(), text.as_bytes(), false), "{pattern} {text}");
    }

    fn no(pattern: &str, text: &str) {
        assert!(!matches(pattern.as_bytes(), text.as_bytes(), false), "{pattern} {text}");
    }

    #[test]
    fn stars_questions_and_escapes() {
        yes("", "");
        no("", "a");
        no("*", "");
        no("**", "");
        yes("a*", "a");
        yes("*a**", "a");
        yes("**", "abc");
        yes("a*c", "abbbc");
        no("a*c", "abbb");
        yes("*a*b*c", "xxaxxbxxbc");
        yes("h?llo", "hello");
        no("h?llo", "hllo");
        yes("h\\*", "h*");
        no("h\\*", "hx");
        yes("a\\", "a\\");
        yes("*ab", "aab");
        no("ab*", "a");
    }

    #[test]
    fn odd_classes_are_read_as_redis_reads_them() {
        yes("[a-c]x", "bx");
        yes("[c-a]x", "bx");
        no("[^a-c]x", "bx");
        yes("[\\]]", "]");
        yes("[ab", "a");
        no("[ab", "c");
        no("[", "[");
        yes("[^", "q");
        no("[]", "]");
        yes("[a-]", "^");
        yes("[-]", "-");
        yes("[a\\", "\\");
    }

    #[test]
    fn case_is_folded_on_request() {
        assert!(matches(b"MAX*[A-M]y", b"maxmemory-POLICy", true));
        assert!(!matches(b"MAX*", b"maxmemory", false));
        assert!(matches(b"[a-z]", b"Q", true));
        assert!(matches(b"\xff*", b"\xff\x00", true));
    }

    #[test]
    fn many_stars_end() {
        let pattern = b"*a".repeat(500);
        let text = b"a".repeat(1000);
        assert!(matches(&pattern, &text, false));
        let mut worst = vec![b'*'];
        worst.extend(b"a".repeat(500));
        worst.push(b'b');
        assert!(!matches(&worst, &text, false));
    }

    /// The dumbest matcher that can be right: elements first, then recursion.
    fn model(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some(b'*'), _) => {
                model(&pattern[1..], text) || !text.is_empty() && model(pattern, &text[1..])
            }
            (Some(_), Some(&byte)) => {
                let (hit, next) = one(pattern, 0, byte, false);
                hit && model(&pattern[next..], &text[1..])
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    #[test]
    fn agrees_with_a_recursive_matcher() {
        let mut state = 7_u64;
        let mut draw = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % n
        };
        for _ in 0..20_000 {
            let pattern: Vec<u8> = (0..draw(9)).map(|_| b"ab*?[]^-\\"[draw(9)]).collect();
            let text: Vec<u8> = (0..=draw(6)).map(|_| b"ab]^-"[draw(5)]).collect();
            assert_eq!(
                matches(&pattern, &text, false),
                model(&pattern, &text),
                "{:?} {:?}",
                String::from_utf8_lossy(&pattern),
                String::from_utf8_lossy(&text)
            );
        }
    }
}
