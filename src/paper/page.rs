//! A web page that stands alone: no script, nothing from elsewhere, readable light, dark and on paper.

use super::plot::escape;

const STYLE: &str = include_str!("page.css");

/// The whole page: its title, rules of style beside those that all pages have, and its body, whose texts are escaped. Nothing may be
/// fetched by it, whatever a text in it says: the policy in its head (W3C Content Security Policy) forbids all.
pub fn standing_alone(title: &str, style: &str, body: &str) -> String {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}{style}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
    )
}

/// A part with a title and a few words; `words` and `content` are markup.
pub fn section(title: &str, words: &str, content: &str) -> String {
    format!("<section>\n<h2>{title}</h2>\n<p>{words}</p>\n{content}</section>\n")
}

/// One figure that counts, and what it is; `class` gives its colour.
pub fn card(class: &str, value: &str, name: &str) -> String {
    format!("<div class=\"card {class}\"><b>{}</b><span>{}</span></div>\n", escape(value), escape(name))
}

/// All of them, side by side.
pub fn cards(cards: &[String]) -> String {
    format!("<div class=\"cards\">\n{}</div>\n", cards.concat())
}
