//! Name the path that leads from a model's exact start to the model: what `anneal` takes walkers along.

use crate::density::{Base, Differentiable, Geometric, Model, Path};
use crate::error::Result;

/// A model with a path from its exact start to itself, along which [`anneal`](crate::anneal) compares models.
///
/// Every differentiable model has one, (1 − t)U_base + tU_θ. A model with two layers interpolates its parameters instead
/// ([`LayersPath`](crate::density::LayersPath)), so that Gibbs kernels know the conditionals at every t; one of your own says
///
/// ```text
/// impl Annealed for MyModel {
///     type Path<'a> = LayersPath<MyLayers>;
///     fn path(&self) -> Result<LayersPath<MyLayers>> { LayersPath::to(self) }
/// }
/// ```
pub trait Annealed {
    /// The path, from the start at t = 0 to the model at t = 1.
    type Path<'a>: Path
    where
        Self: 'a;

    /// The path to the present parameters.
    ///
    /// # Errors
    /// A start that cannot be made.
    fn path(&self) -> Result<Self::Path<'_>>;
}

impl<M: Model + Differentiable> Annealed for M {
    type Path<'a>
        = Geometric<Box<dyn Base>, &'a M>
    where
        M: 'a;

    fn path(&self) -> Result<Geometric<Box<dyn Base>, &M>> {
        Ok(Geometric { base: self.base()?, target: self })
    }
}
