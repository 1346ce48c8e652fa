//! Map numbers to pixels, and choose ticks that a person would choose.

use crate::io::grouped;

/// A linear or logarithmic axis from `lo` at pixel `a` to `hi` at pixel `b`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub lo: f64,
    pub hi: f64,
    pub log: bool,
    pub a: f64,
    pub b: f64,
}

impl Scale {
    /// The pixel of `v`; None where the axis has no place for it (NaN, infinite, not positive on a log axis).
    pub fn px(&self, v: f64) -> Option<f64> {
        if !v.is_finite() || (self.log && v <= 0.0) {
            return None;
        }
        let t = |v: f64| if self.log { v.log10() } else { v };
        let share = (t(v) - t(self.lo)) / (t(self.hi) - t(self.lo));
        Some((self.a + share * (self.b - self.a)).clamp(-1e5, 1e5))
    }

    /// As [`Scale::px`], moved to the nearest end of the axis; what a log axis cannot show is at its lower end.
    pub fn px_inside(&self, v: f64) -> Option<f64> {
        let v = if v == f64::INFINITY { self.hi } else { v };
        let v = if v == f64::NEG_INFINITY || (self.log && v <= 0.0) { self.lo } else { v };
        self.px(v).map(|p| p.clamp(self.a.min(self.b), self.a.max(self.b)))
    }

    /// The number at a pixel.
    pub fn value(&self, px: f64) -> f64 {
        let share = (px - self.a) / (self.b - self.a);
        if self.log { self.lo * (self.hi / self.lo).powf(share) } else { self.lo + share * (self.hi - self.lo) }
    }

    pub fn contains(&self, v: f64) -> bool {
        v >= self.lo && v <= self.hi
    }
}

/// The range of some values, padded on both sides by a share of its length; never empty, always finite.
pub(super) fn range(values: impl Iterator<Item = f64>, log: bool, pad: f64) -> Option<(f64, f64)> {
    let usable = values.filter(|v| v.is_finite() && (!log || *v > 0.0)).map(|v| v.clamp(-1e300, 1e300));
    let (lo, hi) = usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
    if lo > hi {
        return None;
    }
    if log {
        let (a, b) = (lo.log10(), hi.log10());
        let d = if b - a < 1e-9 { 0.3 } else { (b - a) * pad };
        return Some((10f64.powf((a - d).max(-307.0)), 10f64.powf((b + d).min(307.0))));
    }
    let d = if hi - lo <= 1e-12 * lo.abs().max(hi.abs()) {
        if lo == 0.0 { 1.0 } else { lo.abs() * 0.1 }
    } else {
        (hi - lo) * pad
    };
    Some((lo - d, hi + d))
}

/// A tick; minor ones have no label.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub at: f64,
    pub label: String,
}

/// At most about `most` labelled ticks within `lo..hi`, in rising order.
pub(super) fn ticks(lo: f64, hi: f64, log: bool, most: usize) -> Vec<Tick> {
    if log { log_ticks(lo, hi, most.max(2)) } else { linear_ticks(lo, hi, most.max(2)) }
}

fn linear_ticks(lo: f64, hi: f64, most: usize) -> Vec<Tick> {
    let raw = (hi - lo) / most as f64;
    if !(raw.is_finite() && raw > 0.0) {
        return vec![];
    }
    let base = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * base).find(|s| *s >= raw * 0.8).unwrap_or(10.0 * base);
    let first = (lo / step - 1e-9).ceil();
    let count = ((hi / step + 1e-9).floor() - first).clamp(0.0, 60.0) as usize + 1;
    let at: Vec<f64> = (0..count).map(|i| (first + i as f64) * step).filter(|v| *v <= hi + 1e-9 * step).collect();
    let largest = at.iter().fold(0f64, |m, v| m.max(v.abs()));
    let label = |v: f64| linear_label(if v.abs() < step * 1e-6 { 0.0 } else { v }, step, largest);
    at.iter().map(|&v| Tick { at: v, label: label(v) }).collect()
}

/// Digits as the step needs them; a power of ten for very large and very small axes.
fn linear_label(v: f64, step: f64, largest: f64) -> String {
    let power = |x: f64| (x.log10() + 1e-9).floor();
    if v == 0.0 {
        return "0".into();
    }
    if (1e-4..1e6).contains(&largest) {
        return decimal(v, (-power(step)).clamp(0.0, 12.0) as usize);
    }
    let e = power(largest);
    let digits = (e - power(step)).clamp(0.0, 12.0) as usize;
    format!("{}×10{}", decimal(v / 10f64.powf(e), digits), superscript(e as i32))
}

/// `−12,345.60`: a true minus sign, thousands apart.
pub(super) fn decimal(v: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", v.abs());
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(w, r)| (w, Some(r)));
    let whole = whole.parse::<usize>().map_or(whole.to_string(), grouped);
    let sign = if v < 0.0 { "−" } else { "" };
    rest.map_or(format!("{sign}{whole}"), |r| format!("{sign}{whole}.{r}"))
}

fn log_ticks(lo: f64, hi: f64, most: usize) -> Vec<Tick> {
    if !(lo > 0.0 && hi > lo && hi.is_finite()) {
        return vec![];
    }
    let (first, last) = ((lo.log10() - 1e-9).ceil() as i32, (hi.log10() + 1e-9).floor() as i32);
    let within = |v: &f64| *v >= lo * (1.0 - 1e-9) && *v <= hi * (1.0 + 1e-9);
    let multiples = |ms: &[f64]| -> Vec<f64> {
        let all = (first - 1..=last).flat_map(|e| ms.iter().map(move |m| m * 10f64.powi(e)));
        all.filter(within).collect()
    };
    let few = multiples(&[1.0, 2.0, 5.0]);
    if few.len() >= 3 && few.len() <= most && (hi / lo).log10() < 2.0 {
        return few.into_iter().map(|v| Tick { at: v, label: plain(v) }).collect();
    }
    if last - first >= 1 {
        let stride = ((last - first) as usize / most + 1) as i32;
        let label = |e: i32| if e % stride == 0 { format!("10{}", superscript(e)) } else { String::new() };
        let every = if last - first > 12 { stride } else { 1 };
        let decades = (first..=last).filter(|e| e % every == 0).map(|e| Tick { at: 10f64.powi(e), label: label(e) });
        let minor = if last - first <= 6 { multiples(&[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]) } else { vec![] };
        let mut all: Vec<Tick> = decades.chain(minor.into_iter().map(|at| Tick { at, label: String::new() })).collect();
        all.sort_by(|a, b| a.at.total_cmp(&b.at));
        return all;
    }
    let more = multiples(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]);
    if more.len() >= 3 && more.len() <= most + 2 {
        return more.into_iter().map(|v| Tick { at: v, label: plain(v) }).collect();
    }
    linear_ticks(lo, hi, most)
}

/// A number with a single significant digit, such as 0.02 or 2×10⁻⁷.
fn plain(v: f64) -> String {
    let e = (v.log10() + 1e-9).floor();
    if (-4.0..6.0).contains(&e) {
        return decimal(v, (-e).max(0.0) as usize);
    }
    format!("{:.0}×10{}", v / 10f64.powf(e), superscript(e as i32))
}

/// An integer as exponent.
pub(super) fn superscript(e: i32) -> String {
    let digit = |c: char| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        c => char::from_u32('⁰' as u32 + c.to_digit(10).unwrap_or(0)).unwrap_or(c),
    };
    e.to_string().chars().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(lo: f64, hi: f64, log: bool, most: usize) -> Vec<String> {
        ticks(lo, hi, log, most).into_iter().map(|t| t.label).filter(|l| !l.is_empty()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(-0.01, 1.02, false, 5), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(0.0, 8000.0, false, 5), ["0", "2,000", "4,000", "6,000", "8,000"]);
        assert_eq!(labels(-35.0, 5.0, false, 4), ["−30", "−20", "−10", "0"]);
        assert_eq!(labels(0.0, 2.1e7, false, 2), ["0", "1×10⁷", "2×10⁷"]);
        assert_eq!(labels(0.0, 3e-6, false, 3), ["0", "1×10⁻⁶", "2×10⁻⁶", "3×10⁻⁶"]);
        assert_eq!(labels(1e-3, 10.0, true, 6), ["10⁻³", "10⁻²", "10⁻¹", "10⁰", "10¹"]);
        assert_eq!(labels(0.05, 0.6, true, 6), ["0.05", "0.1", "0.2", "0.5"]);
        assert_eq!(labels(1e-12, 1.0, true, 5), ["10⁻¹²", "10⁻⁹", "10⁻⁶", "10⁻³", "10⁰"]);
    }

    #[test]
    fn every_range_is_usable() {
        for log in [false, true] {
            for values in [vec![1.0], vec![0.0, 0.0], vec![1e-320, 1e308], vec![-1e308, 1e308], vec![5.0, f64::NAN]] {
                if let Some((lo, hi)) = range(values.iter().copied(), log, 0.05) {
                    assert!(lo < hi && lo.is_finite() && hi.is_finite(), "{values:?} {log}: {lo} {hi}");
                    assert!(ticks(lo, hi, log, 5).len() < 80);
                }
            }
            assert_eq!(range([f64::NAN, f64::INFINITY].into_iter(), log, 0.05), None);
        }
    }
}
