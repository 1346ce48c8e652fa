//! Show DataFrames as tables: HTML for a notebook, text for a terminal.

use crate::io::{escape, grouped};
use polars::prelude::*;
use std::fmt::{self, Write};

/// Rows that a shown table has at most: the head and the tail of a longer frame.
const HEAD: usize = 8;
const TAIL: usize = 4;

/// What a notebook cell displays: HTML, and text for programs that show no HTML.
#[derive(Debug, Clone, PartialEq)]
pub struct Html {
    /// For a notebook.
    pub html: String,
    /// For a terminal.
    pub text: String,
}

impl Html {
    /// Called by evcxr on the last expression of a cell.
    pub fn evcxr_display(&self) {
        println!("{}\n{}", content("text/html", &self.html), content("text/plain", &self.text));
    }
}

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A block of evcxr's display protocol; several blocks of different types make one bundle, the richest is shown.
pub fn content(mime: &str, body: &str) -> String {
    format!("EVCXR_BEGIN_CONTENT {mime}\n{body}\nEVCXR_END_CONTENT")
}

/// A DataFrame as a table: numbers right-aligned with five digits, the head and tail of a long one, its shape below.
///
/// The HTML takes colours and font from the page, so that it reads in a light and a dark theme.
///
/// ```
/// # use jarzynski::{display::show, io::frame::Rows};
/// let table = show(&Rows::new(&["method", "ess"]).push(("pcd", 0.123456)).finish()?);
/// assert!(table.text.contains("0.12346") && table.html.contains("<table"));
/// # Ok::<(), jarzynski::Error>(())
/// ```
pub fn show(df: &DataFrame) -> Html {
    let names: Vec<String> = df.get_column_names().iter().map(|s| s.to_string()).collect();
    let right: Vec<bool> = df.columns().iter().map(|c| c.dtype().is_primitive_numeric()).collect();
    let n = df.height();
    let rows: Vec<usize> = if n <= HEAD + TAIL + 1 { (0..n).collect() } else { (0..HEAD).chain(n - TAIL..n).collect() };
    let body: Vec<Vec<String>> = rows.iter().map(|&r| df.columns().iter().map(|c| cell(c, r)).collect()).collect();
    let cut = (rows.len() < n).then_some(HEAD);
    let plural = |k: usize, what: &str| format!("{} {what}{}", grouped(k), if k == 1 { "" } else { "s" });
    let shape = format!("{} × {}", plural(n, "row"), plural(df.width(), "column"));
    Html { html: html(&names, &right, &body, cut, &shape), text: text(&names, &right, &body, cut, &shape) }
}

fn cell(column: &Column, row: usize) -> String {
    match column.get(row) {
        Ok(AnyValue::Null) | Err(_) => "–".into(),
        Ok(AnyValue::Float64(x)) => number(x),
        Ok(AnyValue::Float32(x)) => number(x as f64),
        Ok(v) => v.str_value().replace('\n', " "),
    }
}

/// A number with five significant digits, without trailing zeros; very large and small ones as `1.2346e-7`.
pub fn number(x: f64) -> String {
    if x == 0.0 || !x.is_finite() {
        return if x == 0.0 { "0".into() } else { x.to_string() };
    }
    let rounded: f64 = format!("{x:.4e}").parse().unwrap_or(x);
    let exponent = rounded.abs().log10().floor();
    if (-4.0..7.0).contains(&exponent) {
        return trim(&format!("{x:.*}", (4.0 - exponent).max(0.0) as usize));
    }
    let s = format!("{x:.4e}");
    s.split_once('e').map_or(s.clone(), |(m, e)| format!("{}e{e}", trim(m)))
}

fn trim(s: &str) -> String {
    if s.contains('.') { s.trim_end_matches('0').trim_end_matches('.').into() } else { s.into() }
}

const RULE: &str = "border-bottom:1px solid rgba(128,128,128,.5)";
const TABLE: &str = "border-collapse:collapse;color:inherit;background:transparent;font-variant-numeric:tabular-nums";

fn html(names: &[String], right: &[bool], body: &[Vec<String>], cut: Option<usize>, shape: &str) -> String {
    let align = |i: usize| if right[i] { "right" } else { "left" };
    // A wide table scrolls by itself and keeps its lines whole.
    let mut out = format!("<div style=\"overflow-x:auto;white-space:nowrap\"><table style=\"{TABLE}\"><thead><tr>");
    for (i, name) in names.iter().enumerate() {
        let style = format!("text-align:{};padding:.2em .8em;{RULE}", align(i));
        let _ = write!(out, "<th style=\"{style}\">{}</th>", escape(name));
    }
    out.push_str("</tr></thead><tbody>");
    for (r, row) in body.iter().enumerate() {
        if cut == Some(r) {
            let _ = write!(out, "<tr>{}</tr>", "<td style=\"text-align:center;opacity:.6\">⋮</td>".repeat(names.len()));
        }
        out.push_str("<tr style=\"background:transparent\">");
        for (i, value) in row.iter().enumerate() {
            let style = format!("text-align:{};padding:.15em .8em", align(i));
            let _ = write!(out, "<td style=\"{style}\">{}</td>", escape(value));
        }
        out.push_str("</tr>");
    }
    let note = "font-size:.85em;opacity:.7;margin:.2em .8em";
    let _ = write!(out, "</tbody></table></div><p style=\"{note}\">{shape}</p>");
    out.replace('\n', " ")
}

fn text(names: &[String], right: &[bool], body: &[Vec<String>], cut: Option<usize>, shape: &str) -> String {
    let len = |s: &str| s.chars().count();
    let width: Vec<usize> =
        names.iter().enumerate().map(|(i, n)| body.iter().map(|r| len(&r[i])).max().unwrap_or(0).max(len(n))).collect();
    let line = |row: &[String]| {
        let cells = row.iter().enumerate().map(|(i, s)| {
            let pad = " ".repeat(width[i] - len(s));
            if right[i] { format!("{pad}{s}") } else { format!("{s}{pad}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let mut out = line(names);
    for (r, row) in body.iter().enumerate() {
        if cut == Some(r) {
            out.push_str("\n⋮");
        }
        out.push('\n');
        out.push_str(&line(row));
    }
    out.push('\n');
    out.push_str(shape);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_what_evcxr_reads() {
        assert_eq!(content("text/html", "<b>"), "EVCXR_BEGIN_CONTENT text/html\n<b>\nEVCXR_END_CONTENT");
    }

    #[test]
    fn numbers_keep_five_digits() {
        for (x, s) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (0.1 + 0.2, "0.3"),
            (std::f64::consts::PI, "3.1416"),
            (-123456.7, "-123457"),
            (9.999996, "10"),
            (0.000123456, "0.00012346"),
            (1.23456e-7, "1.2346e-7"),
            (1e9, "1e9"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(number(x), s, "{x:?}");
        }
    }
}
