//! Give every method one colour in every figure, and measure text.

use super::power_law::name;
use std::collections::HashMap;

pub(super) type Rgb = (u8, u8, u8);

pub(super) const INK: Rgb = (34, 34, 34);
pub(super) const SOFT: Rgb = (96, 96, 96);
pub(super) const GRID: Rgb = (230, 230, 230);
pub(super) const WHITE: Rgb = (255, 255, 255);

/// Font sizes in pixels of a figure 900 wide.
pub(super) const TITLE: f64 = 16.0;
pub(super) const HEADING: f64 = 14.0;
pub(super) const LABEL: f64 = 13.0;
pub(super) const TICK: f64 = 12.0;

// Okabe & Ito (2008), distinguishable with every common colour blindness; their yellow is too pale for lines on white.
const BLUE: Rgb = (0, 114, 178);
const VERMILLION: Rgb = (213, 94, 0);
const GREEN: Rgb = (0, 158, 115);
const PURPLE: Rgb = (204, 121, 167);
const ORANGE: Rgb = (230, 159, 0);
const SKY: Rgb = (86, 180, 233);
const GREY: Rgb = (110, 110, 110);
const BLACK: Rgb = (0, 0, 0);
const CYCLE: [Rgb; 7] = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY];

const OLIVE: Rgb = (150, 140, 0);
const BROWN: Rgb = (120, 70, 50);

/// The schemes that carry walkers along a flow, each with a colour of its own.
const SCHEMES: [(&str, Rgb); 10] = [
    ("escorted", BLUE),
    ("midpoint", SKY),
    ("heun", GREY),
    ("matched", PURPLE),
    ("euler-ula", ORANGE),
    ("euler-mala", VERMILLION),
    ("rk4-ula", OLIVE),
    ("rk4-mala", GREEN),
    ("ode-euler", BROWN),
    ("ode-rk4", BLACK),
];

const METHODS: [(&str, Rgb); 9] = [
    ("jarzynski", BLUE),
    ("pcd", VERMILLION),
    ("cd", GREEN),
    ("plain", ORANGE),
    ("reweighted", SKY),
    ("data", GREY),
    ("exact", BLACK),
    ("monitor", PURPLE),
    ("theory", GREY),
];

/// The fixed colour of a method as `(r, g, b)`: of `jarzynski`, `pcd`, `cd`, `plain`, `reweighted`, `data`, `exact`,
/// `monitor` and `theory`, of every label that begins with such a word, and of the schemes for flows by their names.
pub fn method_color(label: &str) -> Option<(u8, u8, u8)> {
    if let Some((_, rgb)) = SCHEMES.iter().find(|(name, _)| *name == label) {
        return Some(*rgb);
    }
    let word = first_word(label);
    METHODS.iter().find(|(name, _)| *name == word).map(|(_, rgb)| *rgb)
}

fn first_word(label: &str) -> String {
    label.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("").to_lowercase()
}

/// What tells a label from others: its colour, and its marker for print in black and white.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    pub rgb: Rgb,
    pub marker: usize,
}

/// The looks of all labels of a figure: the same label looks the same in each of its panels.
#[derive(Debug, Default)]
pub(super) struct Looks(HashMap<String, Look>);

impl Looks {
    pub fn assign(labels: &[&str]) -> Self {
        let mut looks: HashMap<String, Look> = HashMap::new();
        let mut variants: HashMap<String, usize> = HashMap::new();
        // A method itself takes the pure colour, whatever the order; its variants take shades of it, all others what is free.
        let turn = |label: &str| match method_color(label) {
            Some(_) if METHODS.iter().any(|(name, _)| *name == label) => 0,
            Some(_) => 1,
            None => 2,
        };
        let mut labels = labels.to_vec();
        labels.sort_by_key(|label| turn(label));
        for label in labels.into_iter().map(name) {
            if looks.contains_key(label) {
                continue;
            }
            let rgb = match method_color(label) {
                Some(rgb) if SCHEMES.iter().any(|(name, _)| *name == label) => rgb,
                Some(rgb) => {
                    let seen = variants.entry(first_word(label)).or_insert(0);
                    *seen += 1;
                    shade(rgb, *seen - 1)
                }
                None => {
                    let free = |c: &&Rgb| !looks.values().any(|l| l.rgb == **c);
                    *CYCLE.iter().find(free).unwrap_or(&CYCLE[looks.len() % CYCLE.len()])
                }
            };
            let method = METHODS.iter().position(|(name, _)| *name == first_word(label));
            let scheme = SCHEMES.iter().position(|(name, _)| *name == label);
            let marker = scheme.or(method).unwrap_or(looks.len()) % 4;
            looks.insert(label.to_string(), Look { rgb, marker });
        }
        Looks(looks)
    }

    pub fn of(&self, label: &str) -> Look {
        self.0.get(name(label)).copied().unwrap_or(Look { rgb: SOFT, marker: 0 })
    }
}

/// The n-th variant of a colour: itself, lighter, darker, much lighter.
fn shade(rgb: Rgb, n: usize) -> Rgb {
    let (target, share) = match n % 4 {
        0 => return rgb,
        1 => (255.0, 0.5),
        2 => (0.0, 0.45),
        _ => (255.0, 0.72),
    };
    let mix = |c: u8| (c as f64 + (target - c as f64) * share).round() as u8;
    (mix(rgb.0), mix(rgb.1), mix(rgb.2))
}

/// Advance widths of DejaVu Sans for ASCII 32 to 126, in hundredths of the font size.
const WIDTHS: [u8; 95] = [
    32, 40, 46, 84, 64, 95, 78, 27, 39, 39, 50, 84, 32, 36, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 34, 34, 84,
    84, 84, 53, 100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75, 79, 60, 79, 69, 63, 61, 73, 68, 99, 69,
    61, 69, 39, 34, 39, 84, 50, 50, 61, 63, 55, 63, 62, 35, 63, 63, 28, 28, 58, 28, 97, 63, 61, 63, 63, 41, 52, 39, 63,
    59, 82, 59, 59, 52, 64, 34, 64, 84,
];

/// Width in pixels of a text in DejaVu Sans of this size.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let one = |c: char| match c {
        ' '..='~' => WIDTHS[c as usize - 32] as f64,
        '⁰'..='⁹' | '¹' | '²' | '³' => 40.0,
        '⁻' => 53.0,
        '−' | '×' | '≤' | '≥' | '±' => 84.0,
        '∝' => 71.0,
        '…' => 100.0,
        // scripts of full width, and pictures
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' => 100.0,
        '\u{ff01}'..='\u{ff60}' | '\u{20000}'..='\u{3ffff}' => 100.0,
        '\u{1f300}'..='\u{1faff}' => 125.0,
        _ => 66.0,
    };
    text.chars().map(one).sum::<f64>() * size / 100.0
}

/// The text and a size at which it fits into `room` pixels: a little smaller first, then cut with an ellipsis.
pub(super) fn fit(text: &str, size: f64, room: f64) -> (String, f64) {
    let natural = width(text, size);
    if natural <= room {
        return (text.into(), size);
    }
    let small = (size * room / natural).max(size * 0.8);
    (cut(text, small, room), small)
}

/// The text, with an ellipsis for what is too much.
pub(super) fn cut(text: &str, size: f64, room: f64) -> String {
    let mut cut = text.to_string();
    while width(&cut, size) > room && cut.chars().count() > 2 {
        cut = cut.chars().take(cut.chars().count() - 2).collect::<String>().trim_end().to_string() + "…";
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_keeps_its_colour_and_variants_differ() {
        let a = Looks::assign(&["pcd", "jarzynski-monitor", "jarzynski", "N = 100"]);
        let b = Looks::assign(&["jarzynski", "other"]);
        assert_eq!(a.of("jarzynski").rgb, b.of("jarzynski").rgb);
        assert_eq!(a.of("jarzynski").rgb, BLUE);
        assert_ne!(a.of("jarzynski-monitor").rgb, BLUE);
        assert_eq!(a.of("N = 100").rgb, GREEN);
        let c = Looks::assign(&["jarzynski", "ptt", "cd-1"]);
        assert_eq!(c.of("cd-1").rgb, GREEN);
        assert_ne!(c.of("ptt").rgb, GREEN);
    }

    #[test]
    fn a_long_text_is_cut() {
        let (text, size) = fit("a title that is much too long for its panel", 14.0, 80.0);
        assert!(text.ends_with('…') && width(&text, size) <= 80.0, "{text}");
        assert_eq!(fit("short", 14.0, 80.0).0, "short");
    }
}
