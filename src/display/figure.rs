//! Show figures in a notebook: the SVG itself, or a picture where the SVG is large.

use crate::display::content;
use crate::error::Result;
use crate::io::escape;
use crate::plot::{Figure, rasterise};
use base64::Engine;

/// Bytes of the largest SVG that a notebook gets.
const LARGEST_SVG: usize = 300_000;

/// A figure as a notebook gets it.
enum Drawn {
    Svg(String),
    /// In base64.
    Png(String),
}

fn draw(figure: &Figure) -> Result<Drawn> {
    let svg = figure.svg()?;
    if svg.len() <= LARGEST_SVG {
        return Ok(Drawn::Svg(svg));
    }
    Ok(Drawn::Png(base64::engine::general_purpose::STANDARD.encode(rasterise(&svg, 2.0)?)))
}

impl Figure {
    /// As HTML inside other HTML; the error's text where the figure cannot be drawn.
    pub(crate) fn inline(&self) -> String {
        match draw(self) {
            Ok(Drawn::Svg(svg)) => svg,
            Ok(Drawn::Png(data)) => {
                format!("<img style=\"max-width:{}px\" src=\"data:image/png;base64,{data}\">", self.width())
            }
            Err(e) => escape(&e.to_string()),
        }
    }

    /// Called by evcxr on the last expression of a cell: the figure, or the error's text where it cannot be drawn.
    pub fn evcxr_display(&self) {
        let block = match draw(self) {
            Ok(Drawn::Svg(svg)) => content("image/svg+xml", &svg),
            Ok(Drawn::Png(data)) => content("image/png", &data),
            Err(e) => content("text/plain", &e.to_string()),
        };
        println!("{block}");
    }
}
