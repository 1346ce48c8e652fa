//! Turn grey values into zeros and ones: by a threshold, by one draw with a fixed seed, or anew at every visit.

use super::Dataset;
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use std::fmt;
use tch::{Device, Kind};

/// How grey values become zeros and ones. Likelihoods under different choices do not compare: on MNIST they differ by some
/// twenty nats.
///
/// The literature uses all three, mostly without a name; here each has a letter, for tables.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Binarisation {
    /// T: 1 where a value lies above this part of the declared range, from 0 to below 1; .5 is its middle.
    Threshold(f64),
    /// F: 1 with the value's place in the declared range as probability, drawn once with this seed.
    Sampled {
        /// Of the draws; the same seed gives the same bits on every machine.
        seed: u64,
    },
    /// S: the same probabilities, which are to be drawn anew at every visit: the data stay probabilities, and a trainer with
    /// [`DataNoise::Bits`](crate::train::DataNoise::Bits) draws each batch from them.
    EveryVisit,
}

impl Binarisation {
    /// `T`, `F` or `S`.
    pub fn letter(self) -> &'static str {
        match self {
            Binarisation::Threshold(_) => "T",
            Binarisation::Sampled { .. } => "F",
            Binarisation::EveryVisit => "S",
        }
    }
}

impl fmt::Display for Binarisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Binarisation::Threshold(share) => write!(f, "T (above {share} of the range)"),
            Binarisation::Sampled { seed } => write!(f, "F (sampled once, seed {seed})"),
            Binarisation::EveryVisit => write!(f, "S (sampled at every visit)"),
        }
    }
}

impl Dataset {
    /// The same examples as zeros and ones, or as probabilities of them for [`Binarisation::EveryVisit`]; the range becomes
    /// (0, 1), and a note names the choice.
    ///
    /// ```
    /// use jarzynski::data::{Binarisation, digits};
    /// # fn main() -> jarzynski::Result<()> {
    /// let bits = digits()?.binarise(Binarisation::Threshold(0.5))?;
    /// assert!(bits.notes[0].contains("T (above 0.5"));
    /// let grey = digits()?.binarise(Binarisation::EveryVisit)?;       // for training
    /// let drawn = digits()?.binarise(Binarisation::Sampled { seed: 1 })?;
    /// assert!((grey.x.mean(grey.x.kind()) - drawn.x.mean(grey.x.kind())).abs().double_value(&[]) < 0.01);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Param`] unless the data declare a range ([`Dataset::with_range`]) and the threshold lies in [0, 1).
    pub fn binarise(&self, how: Binarisation) -> Result<Self> {
        let Some((a, b)) = self.range else {
            return Err(Error::param("range", "none", format!("{} with a declared range", self.name)));
        };
        let kind = self.x.f_kind()?;
        let x = match how {
            Binarisation::Threshold(share) if (0.0..1.0).contains(&share) => {
                self.x.f_gt(a + share * (b - a))?.f_to_kind(kind)?
            }
            Binarisation::Threshold(share) => {
                return Err(Error::param("threshold", share, "a part of the range, from 0 to below 1"));
            }
            Binarisation::EveryVisit => self.scale(0.0, 1.0)?.x,
            Binarisation::Sampled { seed } => {
                let p = self.scale(0.0, 1.0)?.x.f_to_kind(Kind::Double)?;
                // on the CPU: the same bits for data on any device
                let u = Rng::new(seed).split(0x6269_6e61).uniform_tensor(&p.size(), Kind::Double, Device::Cpu);
                u.f_to_device(p.device())?.f_lt_tensor(&p)?.f_to_kind(kind)?
            }
        };
        let mut out = Dataset { x, range: Some((0.0, 1.0)), ..self.same() };
        out.notes.push(format!("binarised: {how}"));
        Ok(out)
    }
}
