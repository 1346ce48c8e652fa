//! Check figures: they parse, are rendered, and any data can be drawn.
#![cfg(feature = "plot")]

use jarzynski::io::frame::{column_f64, column_str, filter};
use jarzynski::plot::{Figure, Panel, method_color, power_law};
use jarzynski::polars::prelude::{DataFrame, ParquetReader, SerReader};
use resvg::tiny_skia::Pixmap;

fn every_layer(x: &[f64], y: &[f64]) -> Vec<Panel> {
    let bins = y.len().saturating_sub(1);
    let names: Vec<String> = (0..y.len()).map(|i| format!("category {i}")).collect();
    let axes = |p: Panel| [p.clone(), p.clone().log_x(), p.clone().log_y(), p.log_x().log_y()];
    let plain = Panel::new("title").x("x").y("y").line("pcd", x, y).dashed("exact", x, y).band("pcd", x, y, y);
    let plain = plain.points("cd", x, y).errorbars("cd", x, y, y).hline("h", 0.5).vline("v", 0.5).text(0.5, 0.5, "t");
    let steps = Panel::new("").histogram("data", y, &y[..bins]);
    let bars = Panel::new("bars").categories(&names).bars("data", y, y).bars("pcd", y, &[]);
    let sample = Panel::new("").weighted_histogram("data", y, &[], 7).density("data", y, &[]).walkers("pcd", x, y, &[]);
    let fitted = Panel::new("").slope("cd", x, y);
    let mut all: Vec<Panel> = axes(plain).into_iter().chain(axes(steps)).chain(axes(sample)).collect();
    if !y.is_empty() {
        let map = Panel::new("").energy2d("U", y, (0.0, 2.0), (1.0, 3.0), y.len()).walkers("pcd", x, y, &[]);
        all.extend(axes(map));
    }
    all.extend([bars.clone(), bars.log_y(), fitted]);
    all
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
    // characters that the embedded font lacks come from another, or are boxes: never nothing
    for glyphs in ["能量", "エネルギー", "ऊर्जा", "⚡🎉", "👩\u{200d}🔬"] {
        let (one, three) = (ink(glyphs), ink(&glyphs.repeat(3)));
        assert!(one > none + 40 && three > one + 80, "{glyphs}: {one}, three times {three}, without {none}");
        assert_eq!(ink(&format!("x{}", "\u{200d}".repeat(3))), ink("x"), "a joiner alone has no shape");
    }
    // the SVG keeps the text
    assert!(Figure::new(400, 100).title("能量").svg().unwrap().contains("能量"));
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
    let sample = |w: &[f64], bins| one(Panel::new("").weighted_histogram("h", &[0.0, 1.0, 2.0], w, bins));
    assert!(sample(&[1.0], 5).contains("weights has shape [1]: expected [3] (as many as values of layer \"h\")"));
    assert!(sample(&[1.0, -2.0, 1.0], 5).contains("weights = -2: expected finite and not negative (weight 1"));
    assert!(sample(&[f64::NAN, 1.0, 1.0], 5).contains("weight 0 of layer \"h\""));
    assert!(sample(&[0.0; 3], 5).contains("a positive sum"));
    assert!(sample(&[], 0).contains("bins = 0"));
    assert!(one(Panel::new("").density("k", &[0.0, 1.0], &[1.0])).contains("values of layer \"k\""));
    assert!(one(Panel::new("").walkers("w", &[0.0, 1.0], &[1.0], &[])).contains("as many as xs"));
    assert!(one(Panel::new("").walkers("w", &[0.0], &[1.0], &[-1.0])).contains("weight 0 of layer \"w\""));
    assert!(one(Panel::new("").slope("s", &[1.0, 2.0], &[1.0])).contains("layer \"s\""));
    let map = |u: &[f64], x, nx| Panel::new("").energy2d("U", u, x, (0.0, 1.0), nx);
    assert!(one(map(&[0.0; 5], (0.0, 1.0), 2)).contains("energy has shape [5]: expected [ny × nx]"));
    assert!(one(map(&[0.0; 5], (0.0, 1.0), 0)).contains("nx = 0 ≥ 1"));
    assert!(one(map(&[0.0; 4], (1.0, 1.0), 2)).contains("energy2d x = 1..1"));
    assert!(one(map(&[0.0; 4], (0.0, 1.0), 2).energy2d("V", &[0.0], (0.0, 1.0), (0.0, 1.0), 1)).contains("2 in one"));
    let wrong = Figure::new(300, 200).panel(Panel::new("").line("pcd", &[0.0, 1.0], &[0.0]));
    assert!(wrong.data().unwrap_err().to_string().contains("pcd"));
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

fn numbers(df: &DataFrame, name: &str) -> Vec<f64> {
    column_f64(df, name).unwrap()
}

/// The data of a figure with this panel alone.
fn data(panel: Panel) -> DataFrame {
    Figure::new(300, 200).panel(panel).data().unwrap()
}

#[test]
fn a_weighted_histogram_has_area_one() {
    let values = [0.0, 0.1, 0.5, 0.5, f64::NAN, 0.75, 1.0, 9.0];
    let weights = [1.0, 2.0, 3.0, 1.0, 5.0, 2.0, 1.0, 0.0];
    for scale in [1.0, 1e-300, 1e307] {
        let df = data(Panel::new("").weighted_histogram("a", &values, &weights.map(|w| w * scale), 4));
        let (lo, hi, y) = (numbers(&df, "lo"), numbers(&df, "hi"), numbers(&df, "y"));
        assert_eq!((lo, hi), (vec![0.0, 0.25, 0.5, 0.75], vec![0.25, 0.5, 0.75, 1.0]));
        // 3, 0, 4 and 3 of a weight of 10, over bins of 1/4.
        for (y, expected) in y.iter().zip([1.2, 0.0, 1.6, 1.2]) {
            assert!((y - expected).abs() < 1e-14, "{y} for {expected} at {scale}");
        }
    }
    let many: Vec<f64> = (0..1000).map(|i| (i as f64 * 0.7).sin() * 3.0 + 1e3).collect();
    let weights: Vec<f64> = (0..1000).map(|i| (i as f64 * 0.3).cos().powi(2)).collect();
    for bins in [1, 7, 1000] {
        let df = data(Panel::new("").weighted_histogram("a", &many, &weights, bins));
        let width = numbers(&df, "hi").into_iter().zip(numbers(&df, "lo")).map(|(hi, lo)| hi - lo);
        let area: f64 = width.zip(numbers(&df, "y")).map(|(w, y)| w * y).sum();
        assert!((area - 1.0).abs() < 1e-12 && df.height() == bins, "{area}");
    }
}

#[test]
fn a_density_is_a_sum_of_kernels_of_area_one() {
    // Shares 1/4 and 3/4: mean 3/2, variance 3/4, quartiles 0 and 2, effective size 8/5.
    let df = data(Panel::new("").density("a", &[0.0, 2.0, 7.0], &[2.0, 6.0, 0.0]));
    let (xs, ys) = (numbers(&df, "x"), numbers(&df, "y"));
    let h = 0.9 * 0.75f64.sqrt() * 1.6f64.powf(-0.2);
    let kernel = |z: f64| (-z * z / 2.0).exp() / (h * (2.0 * std::f64::consts::PI).sqrt());
    assert_eq!(xs.len(), 200);
    assert!((xs[0] + 4.0 * h).abs() < 1e-12 && (xs[199] - 2.0 - 4.0 * h).abs() < 1e-12);
    for (x, y) in xs.iter().zip(&ys) {
        let expected = 0.25 * kernel(x / h) + 0.75 * kernel((x - 2.0) / h);
        assert!((y - expected).abs() < 1e-14, "{y} for {expected} at {x}");
    }
    // Narrow peaks far apart, a value far out, and many values.
    let peaks: Vec<f64> = (0..400).map(|i| (i % 2) as f64 * 1e3 + (i as f64 * 0.37).sin() * 0.01).collect();
    let far: Vec<f64> = (0..50_000).map(|i| if i == 7 { 1e6 } else { (i as f64 * 0.37).sin() }).collect();
    for values in [vec![0.0, 2.0], peaks, far] {
        let weights: Vec<f64> = (0..values.len()).map(|i| 1.0 + (i as f64).cos() / 2.0).collect();
        for weights in [&weights[..], &[]] {
            let df = data(Panel::new("").density("a", &values, weights));
            let (xs, ys) = (numbers(&df, "x"), numbers(&df, "y"));
            let area: f64 = (1..200).map(|i| (xs[i] - xs[i - 1]) * (ys[i] + ys[i - 1]) / 2.0).sum();
            assert!((area - 1.0).abs() < 1e-3, "{area} for {} values", values.len());
        }
    }
    assert_eq!(data(Panel::new("").density("a", &[3.0, 3.0, 5.0], &[1.0, 1.0, 0.0])).height(), 0);
}

#[test]
fn a_power_law_is_fitted() {
    let xs = [1e-4, 3e-3, 0.2, 7.0, 900.0];
    for p in [-0.5, 0.0, 1.0, 2.5] {
        let (exponent, se, prefactor) = power_law(&xs, &xs.map(|x| 3.0 * x.powf(p))).unwrap();
        assert!((exponent - p).abs() < 1e-12 && se < 1e-12 && (prefactor - 3.0).abs() < 1e-11, "{exponent} for {p}");
    }
    // Logs 0, 1, 2 and 0, 2, 1: slope 1/2, residuals −1/2, 1, −1/2, se² = 1.5 / 1 / 2.
    let e = std::f64::consts::E;
    let (xs, ys) = ([1.0, e, -1.0, e * e, 0.0, 2.0], [1.0, e * e, 3.0, e, 1.0, f64::NAN]);
    let (exponent, se, prefactor) = power_law(&xs, &ys).unwrap();
    assert!((exponent - 0.5).abs() < 1e-14 && (se - 0.75f64.sqrt()).abs() < 1e-14, "{exponent} {se}");
    assert!((prefactor - 0.5f64.exp()).abs() < 1e-14, "{prefactor}");
    assert!(power_law(&[1.0, 2.0], &[1.0, 2.0]).unwrap().1.is_nan());
    for (xs, ys) in [(&[1.0, 1.0][..], &[1.0, 2.0][..]), (&[1.0, -2.0], &[1.0, 2.0]), (&[1.0, 2.0], &[1.0]), (&[], &[])]
    {
        assert_eq!(power_law(xs, ys), None);
    }
    let figure = Figure::new(600, 400).panel(Panel::new("").slope("increments", &xs, &ys));
    assert!(figure.svg().unwrap().contains("increments ∝ x^0.5 ± 0.9"));
    // However narrow the panel, the exponent is not cut.
    let name = "jarzynski with a name that is too long";
    let falling = |panel: Panel, name: &str| panel.slope(name, &[1.0, 2.0, 4.0], &[1.0, 0.5, 0.25]);
    let svg = Figure::new(300, 200).panel(falling(Panel::new(""), name)).svg().unwrap();
    assert!(svg.contains("… ∝ x^−1.000 ± 0.000"), "{svg}");
    // A fit has the colour of its name: a second label of the method would take a lighter shade.
    let shaded = |name: &str| {
        let panel = Panel::new("").points("jarzynski", &[1.0], &[1.0]);
        Figure::new(600, 400).panel(falling(panel, name)).svg().unwrap().contains("#80B9D9")
    };
    assert!(!shaded("jarzynski") && shaded("jarzynski-other"));
}

#[test]
fn an_energy_has_its_colours_and_its_limits() {
    // Two rows: dark below, yellow above, a blank cell; a walker outside does not move the axes.
    let map = Panel::new("").energy2d("U", &[0.0, 0.0, 1.0, f64::NAN], (-1.0, 1.0), (2.0, 4.0), 2);
    let figure = Figure::new(300, 200).panel(map.walkers("pcd", &[50.0], &[3.0], &[1.0]));
    let map = Pixmap::decode_png(&figure.png(1.0).unwrap()).unwrap();
    let rgb = |x: u32, y: u32| map.pixel(x, y).map(|p| (p.red(), p.green(), p.blue())).unwrap();
    let with = |color| (0..200).flat_map(|y| (0..300).map(move |x| (x, y))).filter(move |(x, y)| rgb(*x, *y) == color);
    let (dark, light): (Vec<_>, Vec<_>) = (with((0, 34, 78)).collect(), with((254, 232, 56)).collect());
    // The bar, right of the axes, has a few pixels of both.
    let share = light.len() as f64 / dark.len() as f64;
    assert!(dark.len() > 10_000 && (0.45..0.55).contains(&share), "{} {}", dark.len(), light.len());
    let lowest = light.iter().filter(|p| p.0 < 100).map(|p| p.1).max().unwrap();
    assert!(dark.iter().all(|p| p.1 > lowest));
    let df = figure.data().unwrap();
    assert_eq!(numbers(&df, "x"), [-0.5, 0.5, -0.5, 0.5, 50.0]);
    assert_eq!(numbers(&df, "y"), [2.5, 2.5, 3.5, 3.5, 3.0]);
    assert_eq!(numbers(&df, "value")[..3], [0.0, 0.0, 1.0]);
    assert_eq!(column_str(&df, "layer").unwrap(), ["energy", "energy", "energy", "energy", "walkers"]);
}

#[test]
fn the_area_of_a_walker_is_its_weight() {
    let radii = |weights: &[f64]| -> Vec<f64> {
        let x: Vec<f64> = (0..weights.len()).map(|i| i as f64).collect();
        let svg = Figure::new(400, 300).panel(Panel::new("").walkers("", &x, &x, weights)).svg().unwrap();
        let radius = |l: &str| l.split(" r=\"").nth(1).and_then(|r| r.split('"').next()).and_then(|r| r.parse().ok());
        svg.lines().filter(|l| l.starts_with("<circle") && !l.contains("#FFFFFF")).filter_map(radius).collect()
    };
    let usual = radii(&[3.0, 3.0])[0];
    // Areas 0.4 and 1.6 times the usual, the larger first; then both bounds.
    for (weights, areas) in [([1.0, 4.0, 2.5], [1.6, 1.0, 0.4]), ([0.0, 0.0, 1e-9], [3.0, 0.1, 0.1])] {
        let found = radii(&weights);
        assert_eq!(found.len(), 3);
        for (r, area) in found.iter().zip(areas) {
            assert!((r / usual - f64::sqrt(area)).abs() < 0.02, "{found:?} for {weights:?}");
        }
    }
    let one_has_all: Vec<f64> = (0..100).map(|i| f64::from(i == 3)).collect();
    assert!((radii(&one_has_all)[0] / usual - 10f64.sqrt()).abs() < 0.02);
}

#[test]
fn a_figure_gives_its_data_back() {
    let (x, y, se) = ([1.0, 2.0], [3.0, 4.0], [0.5, f64::NAN]);
    let first = Panel::new("first").line("a", &x, &y).dashed("b", &x, &y).band("a", &x, &[2.0, 3.0], &[4.0, 5.0]);
    let first = first.points("c", &x, &y).errorbars("d", &x, &y, &se).hline("h", 0.5).vline("v", 0.25);
    let second = Panel::new("second").categories(&["p", "q"]).bars("e", &y, &se).histogram("f", &[0.0, 1.0, 3.0], &y);
    let second = second.text(7.0, 8.0, "remark").slope("g", &[1.0, 2.0, 4.0], &[1.0, 4.0, 16.0]);
    let images = Panel::images("", &[vec![0.0]], (1, 1), 1, (0.0, 1.0));
    let figure = Figure::new(600, 300).panel(first).panel(images).panel(second);
    let df = figure.data().unwrap();
    let names: Vec<&str> = df.columns().iter().map(|c| c.name().as_str()).collect();
    assert_eq!(names, ["panel", "title", "layer", "label", "x", "y", "lo", "hi", "value"]);
    let get = |kind: &str, column: &str| numbers(&filter(&df, "layer", kind).unwrap(), column);
    let fitted = [1.0, 4.0];
    assert_eq!((get("line", "x")[..2].to_vec(), get("line", "y")[..2].to_vec()), (x.to_vec(), y.to_vec()));
    assert_eq!(get("line", "x")[2..].iter().zip(fitted).filter(|(a, b)| (**a - b).abs() < 1e-12).count(), 2);
    assert_eq!((get("dashed", "x"), get("dashed", "y")), (x.to_vec(), y.to_vec()));
    assert_eq!((get("band", "x"), get("band", "lo"), get("band", "hi")), (x.to_vec(), vec![2.0, 3.0], vec![4.0, 5.0]));
    assert!(get("band", "y").iter().chain(&get("line", "lo")).all(|v| v.is_nan()));
    assert_eq!(get("points", "y"), [3.0, 4.0, 1.0, 4.0, 16.0]);
    assert_eq!((get("errorbars", "lo")[0], get("errorbars", "hi")[0]), (2.5, 3.5));
    assert!(get("errorbars", "lo")[1].is_nan());
    assert_eq!((get("rule", "y")[0], get("rule", "x")[1]), (0.5, 0.25));
    assert_eq!((get("bars", "x"), get("bars", "y"), get("bars", "hi")[0]), (vec![0.0, 1.0], y.to_vec(), 3.5));
    assert_eq!((get("histogram", "x"), get("histogram", "hi")), (vec![0.5, 2.0], vec![1.0, 3.0]));
    assert_eq!((get("text", "x"), get("text", "y")), (vec![7.0], vec![8.0]));
    let titles = column_str(&df, "title").unwrap();
    for (panel, title) in numbers(&df, "panel").iter().zip(&titles) {
        assert_eq!(*panel, if title == "first" { 0.0 } else { 2.0 });
    }
    assert!(column_str(&df, "label").unwrap().iter().any(|l| l == "g ∝ x^2.000 ± 0.000"));

    let dir = tempfile::tempdir().unwrap();
    figure.save_data(dir.path(), "curves").unwrap();
    let text = std::fs::read_to_string(dir.path().join("curves-data.csv")).unwrap();
    assert!(
        text.starts_with("panel,title,layer,label,x,y,lo,hi,value\n0,first,line,a,1.0,3.0,NaN,NaN,NaN\n"),
        "{text}"
    );
    let file = std::fs::File::open(dir.path().join("curves-data.parquet")).unwrap();
    assert!(ParquetReader::new(file).finish().unwrap().equals_missing(&df));
    assert!(figure.save_data(dir.path(), "../x").unwrap_err().to_string().contains("../x"));
    assert_eq!(Figure::new(300, 200).data().unwrap().shape(), (0, 9));
}
