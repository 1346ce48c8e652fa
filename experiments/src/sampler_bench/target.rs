//! Name the densities of the comparison, each with its start, the size of jumps and its modes.

use jarzynski::model::Mixture;
use jarzynski::model::targets::{Banana, DoubleWell, Funnel, ManyWell, modes_25, modes_40};
use jarzynski::tch::{Kind, Tensor};
use jarzynski::{Base, Differentiable, Energy, Error, Evaluation, Result};

pub(super) const TARGETS: [&str; 6] = ["modes-25", "modes-40", "funnel-10", "banana", "many-well-54", "many-well-32"];

/// A density with what is known of it.
#[derive(Debug)]
pub(super) enum Target {
    Modes(Mixture),
    Funnel(Funnel),
    Banana(Banana),
    Wells(ManyWell),
}

impl Target {
    /// The target, the standard deviation of its start, and the size of jumps: that of the start in the plane, the distance of two
    /// wells.
    pub fn named(name: &str) -> Result<(Self, f64, f64)> {
        Ok(match name {
            "modes-25" => (Target::Modes(modes_25()?), 8.0, 8.0),
            "modes-40" => (Target::Modes(modes_40(2)?), 25.0, 25.0),
            "funnel-10" => (Target::Funnel(Funnel::new(10)?), 3.0, 3.0),
            "banana" => (Target::Banana(Banana::new(2, 10.0, 0.03)?), 10.0, 10.0),
            "many-well-54" => (Target::Wells(ManyWell::separated(5, 4.0)?), 2.0, 4.0),
            "many-well-32" => (Target::Wells(ManyWell::pairs(32)?), 1.5, 4.0),
            _ => return Err(Error::param("targets", name, format!("some of {}", TARGETS.join(", ")))),
        })
    }

    pub fn known(&self) -> &dyn Base {
        match self {
            Target::Modes(u) => u,
            Target::Funnel(u) => u,
            Target::Banana(u) => u,
            Target::Wells(u) => u,
        }
    }

    pub fn dim(&self) -> i64 {
        match self {
            Target::Modes(u) => u.means().size()[1],
            Target::Funnel(u) => u.dim(),
            Target::Banana(u) => u.dim(),
            Target::Wells(u) => u.dim(),
        }
    }

    /// The share of modes with at least half of their exact mass under weights w at x; of the modes of each well, since all are more
    /// than walkers.
    pub fn coverage(&self, x: &Tensor, w: &Tensor) -> Result<f64> {
        match self {
            Target::Modes(u) => {
                let found = u.responsibilities(x)?.to_kind(Kind::Double).tr().mv(w);
                let held = found.ge_tensor(&(u.masses() * 0.5));
                Ok(held.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]))
            }
            Target::Wells(u) => {
                let right = x.gt(0.0).to_kind(Kind::Double).tr().mv(w);
                let (mass, wells) = (mass_right(u.well()), u.wells());
                let half =
                    |found: Tensor, exact: f64| found.ge(0.5 * exact).masked_select(&wells).to_kind(Kind::Double);
                let both = Tensor::cat(&[half(right.shallow_clone(), mass), half(1.0 - right, 1.0 - mass)], 0);
                Ok(both.mean(Kind::Double).double_value(&[]))
            }
            Target::Funnel(_) | Target::Banana(_) => Ok(f64::NAN),
        }
    }
}

/// The probability of x > 0 under e^{−u}.
fn mass_right(well: &DoubleWell) -> f64 {
    let simpson = |a, b| jarzynski::numeric::fit::simpson(|x| (-well.energy(x)).exp(), a, b, 20_000);
    let (left, right) = (simpson(-8.0, 0.0), simpson(0.0, 8.0));
    right / (left + right)
}

impl Differentiable for Target {}

impl Energy for Target {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.known().energy(x)
    }
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        self.known().evaluate(x)
    }
}
