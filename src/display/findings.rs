//! Show in a notebook what a sweep and the check of a kernel found.

use crate::display::{Html, show};
use crate::io::escape;
use crate::sweep::SweepSummary;
use crate::transport::Contract;

impl Contract {
    /// Called by evcxr: whether the contract is kept, which claims are broken, and the table of claims.
    pub fn evcxr_display(&self) {
        let (colour, text) = match self.kept {
            true => ("#009e73", "The contract is kept.".to_string()),
            false => ("#d55e00", format!("The contract is broken: {}.", self.broken.join("; "))),
        };
        let style = format!("border-left:.3em solid {colour};padding:.1em .6em;margin:.2em 0");
        let table = show(&self.table);
        let html = format!("<div style=\"{style}\"><b>{}</b></div>{}", escape(&text), table.html);
        Html { html, text: format!("{text}\n{}", table.text) }.evcxr_display();
    }
}

impl SweepSummary {
    /// Called by evcxr: how many members finished, the causes of those that did not, and the table of members.
    pub fn evcxr_display(&self) {
        let (text, table) = (self.summary(), show(&self.members));
        let html = format!("<pre>{}</pre>{}", escape(&text), table.html);
        Html { html, text: format!("{text}\n{}", table.text) }.evcxr_display();
    }
}
