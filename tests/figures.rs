//! Figures parse, render and survive every kind of data.
#![cfg(feature = "plot")]

use jarzynski::export::Results;
use jarzynski::frame::Rows;
use jarzynski::plot::{Figure, Panel, method_color};
use resvg::tiny_skia::Pixmap;

fn every_layer(x: &[f64], y: &[f64]) -> Vec<Panel> {
    let bins = y.len().saturating_sub(1);
    let names: Vec<String> = (0..y.len()).map(|i| format!("category {i}")).collect();
    let axes = |p: Panel| [p.clone(), p.clone().log_x(), p.clone().log_y(), p.log_x().log_y()];
    let plain = Panel::new("title").x("x").y("y").line("pcd", x, y).dashed("exact", x, y).band("pcd", x, y, y);
    let plain = plain.points("cd", x, y).errorbars("cd", x, y, y).hline("h", 0.5).vline("v", 0.5).text(0.5, 0.5, "t");
    let steps = Panel::new("").histogram("data", y, &y[..bins]);
    let bars = Panel::new("bars").categories(&names).bars("data", y, y).bars("pcd", y, &[]);
    axes(plain).into_iter().chain(axes(steps)).chain([bars.clone(), bars.log_y()]).collect()
}

fn pixels(png: &[u8]) -> (u32, u32, usize) {
    let map = Pixmap::decode_png(png).unwrap();
    let dark = map.pixels().iter().filter(|p| (p.red(), p.green(), p.blue()) != (255, 255, 255)).count();
    (map.width(), map.height(), dark)
}

#[test]
fn any_data_draws() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let long: Vec<f64> = (0..3000).map(|i| (i as f64 * 0.1).sin()).collect();
    let cases: Vec<Vec<f64>> = vec![
        vec![],
        vec![1.0],
        vec![0.0, 0.0, 0.0],
        vec![-3.0; 5],
        vec![nan; 3],
        vec![nan, 1.0, nan, 2.0, 3.0, inf, -inf],
        vec![1e-300, 1e300, -1e300],
        vec![f64::MAX, f64::MIN, f64::MIN_POSITIVE],
        vec![1e9, 1e9 + 1.0],
        vec![5.0, 4.0, 3.0, -2.0],
        long,
    ];
    for y in &cases {
        let count: Vec<f64> = (0..y.len()).map(|i| i as f64).collect();
        for x in [&count, y] {
            for panel in every_layer(x, y) {
                let svg = Figure::new(300, 200).panel(panel.clone()).svg();
                let svg = svg.unwrap_or_else(|e| panic!("{e}: {panel:?}"));
                for line in svg.lines().filter(|l| !l.starts_with("<image")) {
                    assert!(!line.contains("NaN") && !line.contains("inf"), "{line}");
                }
                resvg::usvg::Tree::from_str(&svg, &Default::default()).unwrap();
            }
        }
    }
}

#[test]
fn an_empty_panel_says_so() {
    let figures = [
        Figure::new(300, 200),
        Figure::new(300, 200).panel(Panel::new("")),
        Figure::new(300, 200).panel(Panel::new("").line("a", &[f64::NAN], &[1.0])),
        Figure::new(300, 200).panel(Panel::new("").line("a", &[1.0], &[1.0]).ylim(2.0, 3.0)),
        Figure::new(300, 200).panel(Panel::images("", &[], (8, 8), 4, (0.0, 1.0))),
    ];
    for figure in figures {
        assert!(figure.svg().unwrap().contains("no data"), "{figure:?}");
    }
}

#[test]
fn png_has_the_size_and_ink() {
    let figure = Figure::new(400, 300).panel(Panel::new("").line("jarzynski", &[0.0, 1.0], &[0.0, 1.0]));
    let (w, h, ink) = pixels(&figure.png(1.5).unwrap());
    assert_eq!((w, h), (600, 450));
    let blank = pixels(&Figure::new(400, 300).panel(Panel::new("")).png(1.5).unwrap()).2;
    assert!(ink > blank + 1500, "{ink} pixels with a line, {blank} without");
    // The line has the method's colour.
    let (r, g, b) = method_color("jarzynski").unwrap();
    let map = Pixmap::decode_png(&figure.png(2.0).unwrap()).unwrap();
    assert!(map.pixels().iter().filter(|p| (p.red(), p.green(), p.blue()) == (r, g, b)).count() > 500);
}

#[test]
fn text_is_rendered_from_the_embedded_font() {
    let ink = |title: &str| pixels(&Figure::new(400, 100).title(title).png(1.0).unwrap()).2;
    let none = ink("");
    for glyphs in ["Cross-entropy", "ρ_θ", "10⁻²", "−×≤∇"] {
        assert!(ink(glyphs) > none + 40, "{glyphs}");
    }
}

#[test]
fn images_keep_their_values() {
    // One black pixel in a white 2×2 image: a quarter of the tile is black, in the SVG's PNG and in the figure's.
    let panel = Panel::images("", &[vec![0.0, 0.0, 0.0, 1.0]], (2, 2), 1, (0.0, 1.0));
    let figure = Figure::new(200, 200).panel(panel);
    assert!(figure.svg().unwrap().contains("image-rendering:pixelated"));
    let map = Pixmap::decode_png(&figure.png(1.0).unwrap()).unwrap();
    let black: Vec<(u32, u32)> =
        (0..200 * 200).map(|i| (i % 200, i / 200)).filter(|(x, y)| map.pixel(*x, *y).unwrap().red() < 10).collect();
    let tile = 168.0 * 16.0 / 28.0; // the height that is left; two blocks of 8 pixels between gaps of 6
    let expected = (tile / 2.0f64).powi(2);
    assert!((black.len() as f64 / expected - 1.0).abs() < 0.1, "{} for {expected}", black.len());
    assert!(black.iter().all(|(x, y)| *x >= 99 && *y >= 99), "lower right");
}

#[test]
fn long_lines_are_thinned_but_keep_their_peaks() {
    let xs: Vec<f64> = (0..100_000).map(f64::from).collect();
    let mut ys: Vec<f64> = xs.iter().map(|x| (x * 0.37).sin()).collect();
    ys[77_777] = 50.0;
    let plot = |ys: &[f64]| Figure::new(600, 400).panel(Panel::new("").line("a", &xs, ys).ylim(-2.0, 60.0)).svg();
    let svg = plot(&ys).unwrap();
    assert!(svg.len() < 60_000, "{} bytes", svg.len());
    let heights = |svg: &str| -> i32 {
        let line = svg.lines().filter(|l| l.contains("polyline")).max_by_key(|l| l.len()).unwrap().to_string();
        let points = line.split("points=\"").nth(1).unwrap().split('"').next().unwrap().to_string();
        points.split_whitespace().map(|p| p.split(',').nth(1).unwrap().parse::<i32>().unwrap()).min().unwrap()
    };
    let peak = heights(&svg);
    ys[77_777] = 0.0;
    assert!(peak < heights(&plot(&ys).unwrap()) - 2000, "the peak is there: {peak}");
    let noisy = Figure::new(600, 400).panel(Panel::new("").dashed("a", &xs, &ys)).svg().unwrap();
    assert!(noisy.len() < 200_000, "{} bytes", noisy.len());
    let scatter = Figure::new(600, 400).panel(Panel::new("").points("a", &xs, &ys)).svg().unwrap();
    assert!(scatter.len() < 400_000, "{} bytes", scatter.len());
}

#[test]
fn mistakes_are_named() {
    let one = |panel: Panel| Figure::new(300, 200).panel(panel).svg().unwrap_err().to_string();
    let text = one(Panel::new("").line("pcd", &[0.0, 1.0], &[0.0]));
    assert!(text.contains("[1]") && text.contains("[2]") && text.contains("pcd"), "{text}");
    assert!(one(Panel::new("").ylim(1.0, 1.0)).contains("ylim"));
    assert!(one(Panel::new("").log_x().xlim(0.0, 1.0)).contains("0 < lower"));
    assert!(one(Panel::new("").categories(&["a"]).bars("b", &[1.0, 2.0], &[])).contains("one per category"));
    assert!(one(Panel::new("").histogram("h", &[0.0], &[1.0])).contains("heights + 1"));
    assert!(one(Panel::images("", &[vec![0.0; 63]], (8, 8), 1, (0.0, 1.0))).contains("height 8 × width 8"));
    assert!(one(Panel::images("", &[vec![0.0; 64]], (8, 8), 0, (0.0, 1.0))).contains("column"));
    assert!(Figure::new(0, 10).svg().unwrap_err().to_string().contains("0×10"));
    assert!(Figure::new(300, 200).png(f32::NAN).is_err());
    assert!(Figure::new(8000, 8000).png(10.0).unwrap_err().to_string().contains("16384"));
}

#[test]
fn markup_in_labels_is_escaped() {
    let figure = Figure::new(300, 200).title("a < b & \"c\"").panel(Panel::new("<i>").line("</text>", &[0.0], &[0.0]));
    let svg = figure.svg().unwrap();
    assert!(svg.contains("a &lt; b &amp;") && !svg.contains("<i>"));
    resvg::usvg::Tree::from_str(&svg, &Default::default()).unwrap();
}

#[test]
fn results_hold_both_formats() {
    let dir = tempfile::tempdir().unwrap();
    let df = Rows::new(&["method", "step", "ess", "ess_se"]).push(("pcd", 0, 1.0, 0.1)).finish().unwrap();
    let panel = Panel::new("").frame(&df, "method", "step", "ess").unwrap();
    let mut results = Results::create(dir.path()).unwrap();
    results.figure("curves", &Figure::new(300, 200).panel(panel)).unwrap();
    let text = results.figure("../x", &Figure::new(300, 200)).unwrap_err().to_string();
    assert!(text.contains("../x"), "{text}");
    let manifest = results.finish(&(), 0).unwrap();
    assert_eq!(manifest.figures, ["curves"]);
    assert_eq!(pixels(&std::fs::read(dir.path().join("curves.png")).unwrap()).0, 600);
    assert!(std::fs::read_to_string(dir.path().join("curves.svg")).unwrap().ends_with("</svg>\n"));
    assert!(Panel::new("").frame(&df, "method", "step", "loss").is_err());
}
