//! Draw shapes through plotters' SVG backend, at a tenth of a pixel.

use super::style::Rgb;
use crate::error::{Error, Result};
use base64::Engine;
use plotters::prelude::{DrawingBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, FontTransform, RGBAColor, ShapeStyle, TextStyle};

/// The backend counts in whole units: ten of them make a pixel, so that curves are smooth.
const UNITS: f64 = 10.0;
const FAMILY: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";
/// Stands for an image until the document is finished; the backend has no element for embedded PNGs.
const IMAGE: &str = "\u{fffc}image ";

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Align {
    Left,
    Center,
    Right,
}

/// A text in pixels; `y` is the middle of its capital letters.
#[derive(Debug, Clone)]
pub(super) struct Label {
    pub text: String,
    pub x: f64,
    pub y: f64,
    pub size: f64,
    pub rgb: Rgb,
    pub align: Align,
    pub bold: bool,
    pub upward: bool,
}

/// What marks, axes and legends are made of, in pixels.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    Path { points: Vec<(f64, f64)>, rgb: Rgb, alpha: f64, width: f64 },
    Area { points: Vec<(f64, f64)>, rgb: Rgb, alpha: f64 },
    Disc { at: (f64, f64), radius: f64, rgb: Rgb },
    Text(Label),
    Image { png: Vec<u8>, at: (f64, f64), size: (f64, f64) },
}

/// A page that collects shapes into an SVG document.
pub(super) struct Canvas {
    size: (u32, u32),
    shapes: Vec<Shape>,
}

impl Canvas {
    pub fn new(size: (u32, u32)) -> Self {
        Canvas { size, shapes: vec![] }
    }

    pub fn add(&mut self, shapes: impl IntoIterator<Item = Shape>) {
        self.shapes.extend(shapes);
    }

    pub fn svg(&self) -> Result<String> {
        let mut text = String::new();
        let (w, h) = (self.size.0 * UNITS as u32, self.size.1 * UNITS as u32);
        let mut images = vec![];
        {
            let mut backend = SVGBackend::with_string(&mut text, (w, h));
            for shape in &self.shapes {
                draw(&mut backend, shape, &mut images).map_err(refused)?;
            }
            backend.present().map_err(refused)?;
        }
        Ok(finish(&text, self.size, (w, h), &images))
    }
}

fn units(v: f64) -> i32 {
    (v * UNITS).round() as i32
}

fn style((r, g, b): Rgb, alpha: f64, width: f64) -> ShapeStyle {
    ShapeStyle { color: RGBAColor(r, g, b, alpha), filled: true, stroke_width: (width * UNITS).round() as u32 }
}

fn draw(backend: &mut SVGBackend<'_>, shape: &Shape, images: &mut Vec<String>) -> Result<()> {
    let whole = |points: &[(f64, f64)]| points.iter().map(|p| (units(p.0), units(p.1))).collect::<Vec<_>>();
    let done = match shape {
        Shape::Path { points, rgb, alpha, width } => backend.draw_path(whole(points), &style(*rgb, *alpha, *width)),
        Shape::Area { points, rgb, alpha } => backend.fill_polygon(whole(points), &style(*rgb, *alpha, 0.0)),
        Shape::Disc { at, radius, rgb } => {
            backend.draw_circle((units(at.0), units(at.1)), units(*radius) as u32, &style(*rgb, 1.0, 0.0), true)
        }
        Shape::Text(label) => return text(backend, label),
        Shape::Image { png, at, size } => {
            let data = base64::engine::general_purpose::STANDARD.encode(png);
            images.push(format!(
                "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" \
                 image-rendering=\"pixelated\" style=\"image-rendering:pixelated\" \
                 href=\"data:image/png;base64,{data}\"/>",
                units(at.0),
                units(at.1),
                units(size.0),
                units(size.1),
            ));
            let name = format!("{IMAGE}{}", images.len() - 1);
            let (text, x, y) = (name, 0.0, 0.0);
            let (size, rgb, align, bold, upward) = (1.0, (0, 0, 0), Align::Left, false, false);
            return self::text(backend, &Label { text, x, y, size, rgb, align, bold, upward });
        }
    };
    done.map_err(refused)
}

fn refused(e: impl std::fmt::Display) -> Error {
    Error::io("figure", std::io::Error::other(e.to_string()))
}

fn text(backend: &mut SVGBackend<'_>, label: &Label) -> Result<()> {
    let weight = if label.bold { FontStyle::Bold } else { FontStyle::Normal };
    // The backend divides sizes by 1.24.
    let mut font = FontDesc::new(FontFamily::Name(FAMILY), label.size * UNITS * 1.24, weight);
    if label.upward {
        font = font.transform(FontTransform::Rotate270);
    }
    let h = match label.align {
        Align::Left => HPos::Left,
        Align::Center => HPos::Center,
        Align::Right => HPos::Right,
    };
    let (r, g, b) = label.rgb;
    let color = RGBAColor(r, g, b, 1.0);
    let style = TextStyle::from(font).color(&color).pos(Pos::new(h, VPos::Center));
    // "0.5ex" puts the baseline a quarter of the size below y, capitals are .73 of it high.
    let shift = label.size * 0.11;
    let (x, y) = if label.upward { (label.x + shift, label.y) } else { (label.x, label.y + shift) };
    backend.draw_text(&label.text.replace('\n', " "), &style, (units(x), units(y))).map_err(refused)
}

/// Puts the images in, sets the size in pixels, says once what the backend repeats for every element.
fn finish(text: &str, size: (u32, u32), units: (u32, u32), images: &[String]) -> String {
    let text = text
        .replacen(
            &format!("<svg width=\"{}\" height=\"{}\"", units.0, units.1),
            &format!("<svg width=\"{}\" height=\"{}\" style=\"max-width:100%;height:auto\"", size.0, size.1),
            1,
        )
        .replace(&format!(" font-family=\"{FAMILY}\""), "")
        .replace(" opacity=\"1\"", "");
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let image = lines.peek().and_then(|next| next.strip_prefix(IMAGE)).and_then(|n| n.parse::<usize>().ok());
        if let Some(image) = image.and_then(|i| images.get(i)) {
            out.push_str(image);
            lines.nth(1); // the name and </text>
        } else if line == "</svg>" {
            out.push_str("</g>\n</svg>");
        } else {
            out.push_str(line);
        }
        if line.starts_with("<svg ") {
            out.push_str(&format!(
                "\n<g font-family=\"{FAMILY}\" stroke-linejoin=\"round\" stroke-linecap=\"butt\">\n\
                 <rect width=\"{}\" height=\"{}\" fill=\"#FFFFFF\"/>",
                units.0, units.1
            ));
        }
        // The backend breaks the line after a text, which shows as a space where texts end at the anchor.
        let in_text = lines.peek().is_some_and(|next| *next == "</text>") || line.starts_with("<text ");
        if !in_text {
            out.push('\n');
        }
    }
    out
}
