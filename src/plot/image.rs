//! Turn pixel grids, dense point clouds and finished figures into PNGs.

use super::canvas::Shape;
use super::fonts::{Readable, carried, of_the_system, readable, warn};
use super::style::{Rgb, WHITE};
use crate::error::{Error, Result};
use resvg::tiny_skia::{Color, FillRule, Paint, PathBuilder, Pixmap, Transform};
use resvg::usvg;
use std::sync::Arc;

/// Images of one size in a grid.
#[derive(Debug, Clone)]
pub(super) struct Tiles {
    pub images: Vec<Vec<f32>>,
    pub shape: (usize, usize),
    pub columns: usize,
    pub range: (f32, f32),
}

/// Pixels of the PNG between two images.
const GAP: usize = 6;

impl Tiles {
    pub fn check(&self) -> Result<()> {
        let (h, w) = self.shape;
        if h == 0 || w == 0 || h > 4096 || w > 4096 || self.columns == 0 {
            let value = format!("{h}×{w} in {} columns", self.columns);
            return Err(Error::param("images", value, "1 to 4096 pixels each way, at least one column"));
        }
        let (lo, hi) = self.range;
        if !(lo < hi && (hi - lo).is_finite()) {
            return Err(Error::param("range", format!("{lo}..{hi}"), "white below black, finite"));
        }
        match self.images.iter().find(|image| ![h * w, 3 * h * w].contains(&image.len())) {
            Some(image) => {
                let expected = format!("[{}] (height {h} × width {w}), or three times as many in colour", h * w);
                Err(Error::Shape { name: "image", got: vec![image.len() as i64], expected })
            }
            None => Ok(()),
        }
    }

    /// The grid in its largest size within a rectangle `(x, y, width, height)`, centred across; None without images.
    pub fn shape(&self, (x, y, width, height): (f64, f64, f64, f64)) -> Result<Option<Shape>> {
        if self.images.is_empty() {
            return Ok(None);
        }
        let (h, w) = self.shape;
        // Each pixel becomes a block, so that the picture stays crisp where a viewer smooths images.
        let block = (48 / h.max(w)).clamp(1, 8);
        let columns = self.columns.min(self.images.len());
        let rows = self.images.len().div_ceil(columns);
        let (cell_w, cell_h) = (w * block + GAP, h * block + GAP);
        let (full_w, full_h) = (columns * cell_w + GAP, rows * cell_h + GAP);
        let mut pixmap = pixmap(full_w, full_h)?;
        let data = pixmap.data_mut();
        data.fill(255);
        for (i, image) in self.images.iter().enumerate() {
            let (x0, y0) = (GAP + i % columns * cell_w, GAP + i / columns * cell_h);
            // A hairline around each image: white images on white paper need an edge.
            for (r, c) in (y0 - 1..=y0 + h * block).flat_map(|r| (x0 - 1..=x0 + w * block).map(move |c| (r, c))) {
                let inside = r >= y0 && c >= x0 && r < y0 + h * block && c < x0 + w * block;
                let at = (r * full_w + c) * 4;
                let rgb = if inside { self.pixel(image, (r - y0) / block * w + (c - x0) / block) } else { [200; 3] };
                data[at..at + 3].copy_from_slice(&rgb);
            }
        }
        let zoom = (width / full_w as f64).min(height / full_h as f64).max(0.01);
        let size = (full_w as f64 * zoom, full_h as f64 * zoom);
        Ok(Some(Shape::Image { png: encode(&pixmap)?, at: (x + (width - size.0) / 2.0, y), size }))
    }

    /// One number is ink on white paper; three, red, green and blue, are light on black.
    fn pixel(&self, image: &[f32], at: usize) -> [u8; 3] {
        let (lo, hi) = self.range;
        let share = |v: f32| if v.is_nan() { 0.0 } else { ((v - lo) / (hi - lo)).clamp(0.0, 1.0) };
        let size = self.shape.0 * self.shape.1;
        if image.len() == size {
            [(255.0 * (1.0 - share(image[at]))).round() as u8; 3]
        } else {
            [0, 1, 2].map(|channel| (255.0 * share(image[channel * size + at])).round() as u8)
        }
    }
}

/// Many discs as one image over the rectangle `(x, y, width, height)`: an SVG of 10,000 circles is a megabyte.
/// Each disc is its centre and radius. With a rim, white of that width shows around what the discs cover together.
pub(super) fn cloud(
    discs: &[((f64, f64), f64)],
    rgb: Rgb,
    rim: Option<f64>,
    area: (f64, f64, f64, f64),
) -> Result<Shape> {
    const FINE: f64 = 2.0;
    let (x, y, width, height) = area;
    let mut pixmap = pixmap((width * FINE).ceil().max(1.0) as usize, (height * FINE).ceil().max(1.0) as usize)?;
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    let mut fill = |(r, g, b): Rgb, alpha: u8, wider: f64| {
        paint.set_color_rgba8(r, g, b, alpha);
        for ((px, py), radius) in discs {
            let centre = (((px - x) * FINE) as f32, ((py - y) * FINE) as f32);
            if let Some(disc) = PathBuilder::from_circle(centre.0, centre.1, ((radius + wider) * FINE) as f32) {
                pixmap.fill_path(&disc, &paint, FillRule::Winding, Transform::identity(), None);
            }
        }
    };
    if let Some(rim) = rim {
        fill(WHITE, 255, rim);
        fill(rgb, 170, 0.0);
        let size = (pixmap.width() as f64 / FINE, pixmap.height() as f64 / FINE);
        return Ok(Shape::Image { png: encode(&pixmap)?, at: (x, y), size });
    }
    fill(rgb, 110, 0.0);
    // Eight levels of opacity look the same and compress to a fraction.
    for pixel in pixmap.data_mut().chunks_exact_mut(4) {
        let alpha = (pixel[3] as u16 + 16).min(255) / 32 * 32;
        let level = |c: u8| (c as u16 * alpha / 255) as u8;
        pixel.copy_from_slice(&[level(rgb.0), level(rgb.1), level(rgb.2), alpha as u8]);
    }
    let size = (pixmap.width() as f64 / FINE, pixmap.height() as f64 / FINE);
    Ok(Shape::Image { png: encode(&pixmap)?, at: (x, y), size })
}

/// An SVG of this module as PNG, `scale` pixels per unit.
pub(crate) fn rasterise(svg: &str, scale: f32) -> Result<Vec<u8>> {
    let Readable { svg, fonts, boxes } = readable(svg, carried(), of_the_system);
    warn(&boxes);
    draw(&svg, fonts, scale)
}

/// An SVG as PNG with these fonts.
pub(super) fn draw(svg: &str, fonts: Arc<usvg::fontdb::Database>, scale: f32) -> Result<Vec<u8>> {
    let options = usvg::Options { fontdb: fonts, font_family: "DejaVu Sans".into(), ..usvg::Options::default() };
    let tree = usvg::Tree::from_str(svg, &options).map_err(|e| Error::data("figure", "SVG", format!("SVG ({e})")))?;
    let size = tree.size();
    let mut pixmap = pixmap((size.width() * scale).round() as usize, (size.height() * scale).round() as usize)?;
    pixmap.fill(Color::WHITE);
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixmap.as_mut());
    encode(&pixmap)
}

pub(super) fn pixmap(width: usize, height: usize) -> Result<Pixmap> {
    let expected = "1 to 16384 pixels each way";
    let wrong = || Error::param("image size", format!("{width}×{height}"), expected);
    if width > 16_384 || height > 16_384 {
        return Err(wrong());
    }
    Pixmap::new(width as u32, height as u32).ok_or_else(wrong)
}

pub(super) fn encode(pixmap: &Pixmap) -> Result<Vec<u8>> {
    pixmap.encode_png().map_err(|e| Error::io("figure", std::io::Error::other(e.to_string())))
}
