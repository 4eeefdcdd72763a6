//! What pictures are made of, as SVG (W3C SVG 1.1) by hand: a library would fix colours and fonts in the picture, while here the page's
//! style sheet has them, so that one picture serves light, dark and paper; and every text is escaped in one place.

use super::units::count;
use std::fmt::{Display, Write};

/// How wide a picture is, in its own units; the page stretches it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    /// Of the whole picture.
    pub width: f64,
    /// What the text at the left needs.
    pub left: f64,
    /// What labels at the right end need.
    pub right: f64,
}

/// For a desk.
pub const DESK: Frame = Frame { width: 920.0, left: 96.0, right: 24.0 };
/// For a phone held upright, where the same text takes more of the width.
pub const PHONE: Frame = Frame { width: 340.0, left: 82.0, right: 12.0 };

/// What the text below needs.
pub const BOTTOM: f64 = 44.0;
/// What the text above needs.
pub const TOP: f64 = 36.0;

impl Frame {
    /// Where the field ends at the right.
    pub fn end(self) -> f64 {
        self.width - self.right
    }

    /// How wide the field is.
    pub fn inner(self) -> f64 {
        self.end() - self.left
    }
}

/// Text as HTML and SVG may hold it, between tags and in attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A picture that grows.
pub struct Svg(String);

impl Svg {
    /// An empty one; `about` is read to those who cannot see it.
    pub fn new(frame: Frame, height: f64, about: &str) -> Self {
        let (width, about) = (frame.width, escape(about));
        Svg(format!("<svg viewBox=\"0 0 {width} {height:.0}\" role=\"img\" aria-label=\"{about}\">\n"))
    }

    /// A line.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(format_args!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"));
    }

    /// `anchor` says which end of the text stands at the place: start, middle, end.
    pub fn text(&mut self, class: &str, anchor: &str, at: (f64, f64), text: &str) {
        let ((x, y), text) = (at, escape(text));
        self.add(format_args!(
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
        ));
    }

    /// A bar; whoever points at it reads `title`.
    pub fn bar(&mut self, class: &str, at: (f64, f64), size: (f64, f64), title: &str) {
        let ((x, y), (width, height), title) = (at, (size.0.max(0.5), size.1.max(0.0)), escape(title));
        self.add(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{title}</title></rect>"
        ));
    }

    /// A line through points, and the area below it down to `floor`.
    pub fn course(&mut self, class: &str, points: &[(f64, f64)], floor: f64) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let line: String = points.iter().map(|(x, y)| format!("{x:.1},{y:.1} ")).collect();
        let (line, first, last) = (line.trim_end(), first.0, last.0);
        self.add(format_args!(
            "<polygon class=\"{class} area\" points=\"{first:.1},{floor:.1} {line} {last:.1},{floor:.1}\"/>"
        ));
        self.add(format_args!("<polyline class=\"{class} course\" points=\"{line}\"/>"));
    }

    /// Any element.
    pub fn add(&mut self, element: impl Display) {
        let _ = writeln!(self.0, "{element}"); // writing to a String cannot fail
    }

    /// The whole picture.
    pub fn end(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

/// A field with axes: where a value stands in the picture.
pub struct Field {
    /// In which picture.
    pub frame: Frame,
    /// Where it begins.
    pub top: f64,
    /// How high it is.
    pub height: f64,
    /// What stands at the right end of the horizontal axis.
    pub width_value: f64,
    /// What stands at the upper end of the vertical one.
    pub height_value: f64,
}

impl Field {
    /// Where a value of the horizontal axis stands.
    pub fn x(&self, value: f64) -> f64 {
        self.frame.left + self.frame.inner() * value / self.width_value.max(f64::MIN_POSITIVE)
    }

    /// Where a value of the vertical axis stands.
    pub fn y(&self, value: f64) -> f64 {
        self.floor() - self.height * value / self.height_value.max(f64::MIN_POSITIVE)
    }

    /// Where it ends below.
    pub fn floor(&self) -> f64 {
        self.top + self.height
    }

    /// Lines across at the marks, with what they mean.
    pub fn vertical_axis(&self, svg: &mut Svg, marks: &[f64], shown: impl Fn(f64) -> String) {
        for mark in marks {
            let y = self.y(*mark);
            svg.line("grid", (self.frame.left, y), (self.frame.end(), y));
            svg.text("tick", "end", (self.frame.left - 8.0, y + 4.0), &shown(*mark));
        }
    }

    /// The line below, with its marks and what they count.
    pub fn horizontal_axis(&self, svg: &mut Svg, marks: &[f64], title: &str) {
        svg.line("axis", (self.frame.left, self.floor()), (self.frame.end(), self.floor()));
        for mark in marks {
            svg.text("tick", "middle", (self.x(*mark), self.floor() + 18.0), &plain(*mark));
        }
        self.horizontal_title(svg, title);
    }

    /// What the horizontal axis counts.
    pub fn horizontal_title(&self, svg: &mut Svg, title: &str) {
        svg.text("title", "middle", ((self.frame.left + self.frame.end()) / 2.0, self.floor() + 37.0), title);
    }
}

/// Round marks from 0 to at least `highest`, about `number` of them.
pub fn marks(highest: f64, number: f64) -> Vec<f64> {
    let rough = (highest / number).max(f64::MIN_POSITIVE);
    let unit = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * unit).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(unit * 10.0);
    let count = (highest / step * 0.999).ceil().clamp(1.0, 100.0) as u32;
    (0..=count).map(|n| f64::from(n) * step).collect()
}

/// The same for bytes, which people count in powers of 1,024.
pub fn byte_marks(highest: f64, number: f64) -> Vec<f64> {
    let unit = 1024_f64.powf((highest.max(1.0).ln() / 1024_f64.ln()).floor());
    marks(highest.max(1.0) / unit, number).into_iter().map(|mark| mark * unit).collect()
}

/// A mark as a number.
pub fn plain(value: f64) -> String {
    if value.fract().abs() < 1e-9 {
        count(value as u64)
    } else {
        format!("{value:.2}").trim_end_matches('0').to_owned()
    }
}

/// The highest mark.
pub fn last(marks: &[f64]) -> f64 {
    marks.last().copied().unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_reach_the_highest_value() {
        assert_eq!(marks(9.0, 4.0), [0.0, 5.0, 10.0]);
        assert_eq!(marks(100.0, 4.0), [0.0, 50.0, 100.0]);
        assert_eq!(byte_marks(3.0 * 1048576.0, 3.0), [0.0, 1048576.0, 2097152.0, 3145728.0]);
        for highest in [0.0, 1e-9, 0.3, 1.0, 7.0, 1e6, 1e15] {
            let marks = marks(highest, 4.0);
            assert!(last(&marks) >= highest * 0.999 && (2..20).contains(&marks.len()), "{highest}: {marks:?}");
        }
    }

    #[test]
    fn what_would_be_markup_is_text() {
        assert_eq!(escape("<a href=\"x\" b='y'>&"), "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;");
    }
}
