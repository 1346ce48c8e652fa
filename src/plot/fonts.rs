//! Find a font for every character of a figure: the library's own, else one of the system's, else draw a box.

use crate::io::escape;
use resvg::usvg::fontdb::{Database, ID};
use resvg::usvg::{FallbackSelectionFn, FontResolver};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Once, OnceLock};

/// Stands for a character that no font has.
const BOX: char = '□';

/// The fonts that the library carries.
pub(super) fn carried() -> &'static Arc<Database> {
    static FONTS: OnceLock<Arc<Database>> = OnceLock::new();
    FONTS.get_or_init(|| Arc::new(database([dejavu::sans::regular(), dejavu::sans::bold()])))
}

/// Those, and the fonts in the system's folders; read when a figure first needs them.
pub(super) fn of_the_system() -> Arc<Database> {
    static FONTS: OnceLock<Arc<Database>> = OnceLock::new();
    let load = || {
        let mut fonts = Database::clone(carried());
        fonts.load_system_fonts();
        Arc::new(fonts)
    };
    FONTS.get_or_init(load).clone()
}

fn database(files: impl IntoIterator<Item = &'static [u8]>) -> Database {
    let mut fonts = Database::new();
    files.into_iter().for_each(|file| fonts.load_font_data(file.to_vec()));
    fonts.set_sans_serif_family("DejaVu Sans");
    fonts
}

/// An SVG in which every character has a font.
pub(super) struct Readable {
    pub svg: String,
    pub fonts: Arc<Database>,
    /// The characters that are drawn as boxes.
    pub boxes: Vec<char>,
}

/// Looks for fonts first among the `carried` ones, then among those of `system`, which is called only where it must be.
///
/// Runs of characters of another font become a `<tspan>` that names it: shaped as a whole, so that a script's letters
/// join. In the SVGs of this module only text has characters beyond ASCII.
pub(super) fn readable(svg: &str, carried: &Arc<Database>, system: impl FnOnce() -> Arc<Database>) -> Readable {
    let own = Coverage::of(carried);
    let unknown: BTreeSet<char> = svg.chars().filter(|c| !c.is_ascii() && !invisible(*c) && !own.has(*c)).collect();
    if unknown.is_empty() {
        return Readable { svg: svg.into(), fonts: carried.clone(), boxes: vec![] };
    }
    let fonts = system();
    let coverage = Coverage::of(&fonts);
    let families: BTreeMap<char, Option<String>> = unknown.iter().map(|c| (*c, coverage.family(*c))).collect();
    let (mut out, mut open): (String, Option<&str>) = (String::with_capacity(svg.len()), None);
    for c in svg.chars() {
        // what is not seen by itself, such as a joiner, belongs to what it follows
        let family = match families.get(&c) {
            None if invisible(c) => open,
            found => found.and_then(Option::as_deref),
        };
        if family != open {
            if open.is_some() {
                out.push_str("</tspan>");
            }
            if let Some(family) = family {
                out.push_str(&format!("<tspan font-family=\"'{}'\">", escape(family)));
            }
            open = family;
        }
        out.push(if families.get(&c) == Some(&None) { BOX } else { c });
    }
    let boxes = families.into_iter().filter(|(_, family)| family.is_none()).map(|(c, _)| c).collect();
    Readable { svg: out, fonts, boxes }
}

/// Says on stderr, once in a process, that characters are drawn as boxes.
pub(super) fn warn(boxes: &[char]) {
    static SAID: Once = Once::new();
    if !boxes.is_empty() {
        let list: String = boxes.iter().take(8).collect();
        SAID.call_once(|| {
            eprintln!("warning: no font on this machine has {list}: drawn as {BOX} in the PNG; the SVG keeps the text");
        });
    }
}

/// Characters that change or join others and have no shape of their own: joiners, directions, variation selectors.
fn invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}')
        || matches!(c, '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

/// Which fonts of a database have a character.
struct Coverage<'a> {
    fonts: &'a Arc<Database>,
    select: FallbackSelectionFn<'static>,
    first: Option<ID>,
}

impl<'a> Coverage<'a> {
    fn of(fonts: &'a Arc<Database>) -> Self {
        let first = fonts.faces().next().map(|face| face.id);
        Coverage { fonts, select: FontResolver::default_fallback_selector(), first }
    }

    /// A font that has the character; usvg's search leaves out the fonts in a list, whose first one gives the style.
    fn find(&self, c: char) -> Option<ID> {
        let others = self.fonts.faces().map(|face| face.id).find(|id| Some(*id) != self.first);
        let among = |left_out: Option<ID>| (self.select)(c, &[left_out?], &mut self.fonts.clone());
        // without the last the first is searched, and without the first all others are
        among(others.or(self.first)).or_else(|| among(self.first))
    }

    fn has(&self, c: char) -> bool {
        self.find(c).is_some()
    }

    fn family(&self, c: char) -> Option<String> {
        let face = self.fonts.face(self.find(c)?)?;
        face.families.first().map(|(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::image::draw;
    use resvg::tiny_skia::Pixmap;

    fn svg(text: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"200\" height=\"60\"><g font-family=\"DejaVu Sans Mono\" \
             font-size=\"30\"><text x=\"5\" y=\"40\">{text}</text></g></svg>"
        )
    }

    fn mono() -> [&'static [u8]; 2] {
        [dejavu::sans_mono::regular(), dejavu::sans_mono::bold()]
    }

    fn sans() -> [&'static [u8]; 2] {
        [dejavu::sans::regular(), dejavu::sans::bold()]
    }

    fn picture(svg: &str, fonts: Database) -> Vec<u8> {
        Pixmap::decode_png(&draw(svg, Arc::new(fonts), 1.0).unwrap()).unwrap().take()
    }

    fn ink(picture: &[u8]) -> usize {
        picture.chunks(4).filter(|p| p[0] < 128).count()
    }

    /// A text by the monospaced font, which lacks Hebrew, on a system that has the proportional one or no font at all.
    fn shown(text: &str, system: bool) -> (Vec<u8>, Vec<char>) {
        let all = || Arc::new(database(mono().into_iter().chain(if system { sans().to_vec() } else { vec![] })));
        let Readable { svg, fonts, boxes } = readable(&svg(text), &Arc::new(database(mono())), all);
        (picture(&svg, Database::clone(&fonts)), boxes)
    }

    #[test]
    fn a_character_that_the_font_lacks_is_drawn_from_another() {
        let hebrew = "\u{5d0}\u{5d1}";
        let (seen, boxes) = shown(hebrew, true);
        assert!(ink(&seen) > 50 && boxes.is_empty(), "{} {boxes:?}", ink(&seen));
        let direct = picture(&svg(hebrew).replace("DejaVu Sans Mono", "DejaVu Sans"), database(sans()));
        assert!(seen == direct, "the same picture as by that font alone");
        assert!(seen != picture(&svg(hebrew), database(mono())), "the text as it stands shows no letters");
        assert_eq!(ink(&shown("", true).0), 0);
    }

    #[test]
    fn a_character_that_no_font_has_is_a_box() {
        let (one, boxes) = shown("\u{5d0}", false);
        assert!(ink(&one) > 20 && one == shown("□", false).0 && boxes == ['\u{5d0}'], "{boxes:?}");
        assert!(shown("x\u{5d0}\u{5d1}\u{fe0f}y", false).0 == shown("x□□\u{fe0f}y", false).0);
        // a private character, which no font can have; letters around it stay
        let (mixed, boxes) = shown("a\u{f0000}b", true);
        assert!(mixed == shown("a□b", true).0 && boxes == ['\u{f0000}'], "{boxes:?}");
    }

    #[test]
    fn text_that_the_font_has_is_left_alone_and_the_system_is_not_asked() {
        let carried = carried();
        let text = svg("ρ_θ ≤ 10⁻² Ж");
        let out = readable(&text, carried, || panic!("the system was asked"));
        assert!(out.svg == text && out.boxes.is_empty());
        let out = readable(&svg("a\u{f0000}"), carried, || carried.clone());
        assert_eq!(out.svg, svg("a□"));
    }
}
