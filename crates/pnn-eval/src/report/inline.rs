//! Escaping, and the little markup that report text may hold.

/// Text as HTML text or attribute value.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            // HTML allows no other control characters, not even as references.
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

/// Text with `` `code` ``, `*emphasis*`, `**strong**` and `[text](link)` as HTML;
/// everything else, and markup that does not close, is escaped text.
pub(super) fn markup(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        out += &escape(&rest[..at]);
        rest = &rest[at..];
        let (html, used) = code(rest)
            .or_else(|| paired(rest, "**", "strong"))
            .or_else(|| paired(rest, "*", "em"))
            .or_else(|| link(rest))
            .unwrap_or_else(|| (escape(&rest[..1]), 1));
        out += &html;
        rest = &rest[used..];
    }
    out + &escape(rest)
}

/// The HTML of a span that starts here, and how many bytes it takes.
type Span = Option<(String, usize)>;

fn code(text: &str) -> Span {
    let inner = enclosed(text, "`", "`")?;
    Some((format!("<code>{}</code>", escape(inner)), inner.len() + 2))
}

fn paired(text: &str, mark: &str, tag: &str) -> Span {
    let inner = enclosed(text, mark, mark)?;
    // As in Markdown, a mark beside a space is a character: `2 * 3 * 4`.
    let is_emphasis = inner.trim() == inner && !inner.starts_with('*');
    is_emphasis.then(|| (format!("<{tag}>{}</{tag}>", markup(inner)), inner.len() + 2 * mark.len()))
}

fn link(text: &str) -> Span {
    let words = enclosed(text, "[", "]")?;
    let target = enclosed(&text[words.len() + 2..], "(", ")")?;
    let is_safe = ["https://", "http://", "#"].iter().any(|start| target.starts_with(start));
    // Anything else could be `javascript:`; a path would break when the page moves.
    (is_safe && !target.contains(char::is_whitespace)).then(|| {
        let html = format!("<a href=\"{}\">{}</a>", escape(target), escape(words));
        (html, words.len() + target.len() + 4)
    })
}

/// The text between `open`, with which `text` starts, and the next `close`, if not empty.
fn enclosed<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let inner = text.strip_prefix(open)?;
    let end = inner.find(close)?;
    (end > 0).then(|| &inner[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markup_golden() {
        for (text, html) in [
            ("plain <b> & 'more'", "plain &lt;b&gt; &amp; &#39;more&#39;"),
            ("`a < b` and *so*", "<code>a &lt; b</code> and <em>so</em>"),
            ("**strong *and* more**", "<strong>strong <em>and</em> more</strong>"),
            ("*em `code*` end*", "<em>em `code</em>` end*"),
            ("2 * 3 * 4", "2 * 3 * 4"),
            ("97.3 [96.9, 97.6]", "97.3 [96.9, 97.6]"),
            (
                "[see](https://x.org/?a=1&b=\"2\")",
                "<a href=\"https://x.org/?a=1&amp;b=&quot;2&quot;\">see</a>",
            ),
            ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
            ("open ` and * and [", "open ` and * and ["),
            ("`` ** []()", "`` ** []()"),
            ("nul \0", "nul \u{fffd}"),
        ] {
            assert_eq!(markup(text), html, "{text}");
        }
    }

    proptest! {
        #[test]
        fn only_our_own_tags_come_out(text in "[a `*<>&\"'\\[\\]()#:/x\u{e9}]{0,40}|.{0,40}") {
            let mut html = markup(&text);
            for tag in ["code", "em", "strong"] {
                html = html.replace(&format!("<{tag}>"), "").replace(&format!("</{tag}>"), "");
            }
            html = html.replace("</a>", "");
            while let Some(at) = html.find("<a href=\"") {
                let end = at + html[at..].find("\">").unwrap() + 2;
                let target = &html[at + 9..end - 2];
                prop_assert!(!target.contains(['<', '>', '"']));
                html.replace_range(at..end, "");
            }
            prop_assert!(!html.contains(['<', '>', '"', '\'']), "{html}");
        }

        #[test]
        fn escaped_text_holds_no_markup(text: String) {
            prop_assert!(!escape(&text).contains(['<', '>', '"', '\'']));
        }
    }
}
