//! Write numbers and text for people: digits in groups, and text that HTML shows as it is.

/// A whole number with its digits in groups of three: `12,345`.
pub fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// Text with the characters that HTML gives a meaning (`&`, `<`, `>`, `"`) replaced by their entities.
pub fn escape(s: &str) -> String {
    s.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_and_text_is_escaped() {
        let numbers = [(0, "0"), (7, "7"), (123, "123"), (1234, "1,234"), (123456, "123,456"), (1234567, "1,234,567")];
        for (n, text) in numbers {
            assert_eq!(grouped(n), text);
        }
        assert_eq!(escape("a < \"b\" & c > d"), "a &lt; &quot;b&quot; &amp; c &gt; d");
    }
}
