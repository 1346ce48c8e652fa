//! Draw figures that fit a notebook and a paper: one description, as SVG and as PNG.
//!
//! ```
//! use jarzynski::plot::{Figure, Panel};
//! let (step, loss) = ([0.0, 1.0, 2.0], [3.0, 1.0, 0.5]);
//! let panel = Panel::new("Training").x("step").y("cross-entropy / nats").line("jarzynski", &step, &loss);
//! let figure = Figure::new(600, 360).panel(panel.hline("exact", 0.4));
//! assert!(figure.svg()?.starts_with("<svg"));
//! # Ok::<(), jarzynski::Error>(())
//! ```

mod axis;
mod canvas;
mod data;
mod density;
mod draw;
mod energy;
mod fonts;
mod image;
mod legend;
mod marks;
mod panel;
mod power_law;
mod run;
mod style;
mod sweep;

pub(crate) use image::rasterise;
pub use panel::Panel;
pub use power_law::power_law;
pub use style::method_color;

use crate::error::{Error, Result};
use crate::io::{check_name, write_atomic};
use std::path::Path;

/// A grid of panels, `width × height` pixels; 900 wide fills a notebook cell.
///
/// Where several panels have the same labels, one legend above them serves all. Nothing is drawn before [`Figure::svg`],
/// [`Figure::png`] or [`Figure::save`], and there the mistakes in what was described are reported.
#[derive(Debug, Clone)]
#[must_use]
pub struct Figure {
    size: (u32, u32),
    title: String,
    columns: usize,
    panels: Vec<Panel>,
}

impl Figure {
    /// A figure without panels yet.
    pub fn new(width: u32, height: u32) -> Self {
        Figure { size: (width, height), title: String::new(), columns: 0, panels: vec![] }
    }

    /// A title above all panels.
    pub fn title(mut self, title: &str) -> Self {
        self.title = title.into();
        self
    }

    /// Panels side by side; by default up to three, and four as two by two.
    pub fn columns(mut self, columns: usize) -> Self {
        self.columns = columns;
        self
    }

    /// The next panel, row by row.
    pub fn panel(mut self, panel: Panel) -> Self {
        self.panels.push(panel);
        self
    }

    fn grid_columns(&self) -> usize {
        match (self.columns, self.panels.len()) {
            (0, 4) => 2,
            (0, n) => n.clamp(1, 3),
            (columns, n) => columns.min(n.max(1)),
        }
    }

    /// The figure as an SVG document of text, paths and embedded images.
    ///
    /// # Errors
    /// `Param` for a size outside 40 to 8192 pixels or impossible limits, `Shape` for a layer whose slices differ in
    /// length.
    pub fn svg(&self) -> Result<String> {
        let (w, h) = self.size;
        if !(40..=8192).contains(&w) || !(40..=8192).contains(&h) {
            return Err(Error::param("figure size", format!("{w}×{h}"), "40 to 8192 pixels each way"));
        }
        draw::figure(self)
    }

    /// The same figure as PNG, `scale` pixels per pixel of the figure (2 for a screen of high resolution).
    ///
    /// # Errors
    /// As [`Figure::svg`], and `Param` where the picture would have no or more than 16384 pixels one way.
    pub fn png(&self, scale: f32) -> Result<Vec<u8>> {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(Error::param("scale", scale, "above 0"));
        }
        rasterise(&self.svg()?, scale)
    }

    /// Writes `dir/name.svg` and `dir/name.png` (at twice the size in pixels).
    ///
    /// # Errors
    /// As [`Figure::svg`], `Param` for a name that is no plain file name, `Io` with the path.
    pub fn save(&self, dir: impl AsRef<Path>, name: &str) -> Result<()> {
        check_name(name)?;
        let svg = self.svg()?;
        let png = rasterise(&svg, 2.0)?;
        for (extension, bytes) in [("svg", svg.as_bytes()), ("png", &png[..])] {
            let path = dir.as_ref().join(format!("{name}.{extension}"));
            write_atomic(&path, |out| out.write_all(bytes).map_err(|e| Error::io(&path, e)))?;
        }
        Ok(())
    }

    pub(crate) fn width(&self) -> u32 {
        self.size.0
    }
}
