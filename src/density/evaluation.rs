//! Keep walkers' positions with what one evaluation there gave: energies, gradients, and the graph through θ.

use crate::density::Energy;
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use tch::{Device, Tensor};

/// Walkers' positions with what one evaluation under θ_k gave: the next kernel move and the θ-gradient reuse it.
#[derive(Debug)]
pub struct Evaluation {
    /// Positions, `[n, d]`.
    pub x: Tensor,
    /// U_θ(x), `[n]`, detached.
    pub u: Tensor,
    grad: Tensor,
    /// What else the model or path keeps for each row: a flow's velocity, an RBM's hidden inputs.
    kept: Option<Tensor>,
    graph: Graph,
}

/// What a θ-gradient at a [`Evaluation`] can start from.
#[derive(Debug)]
enum Graph {
    /// A closed form needs none.
    Closed,
    /// U with its autograd graph through θ, spent by the θ-gradient, and the rows by which it was selected since it was
    /// evaluated at `x`: what it takes to make the same graph again.
    Kept { u: Tensor, x: Tensor, selected: Vec<Tensor> },
    /// Spent, or lost where a rejection mixed two evaluations: a further forward pass is needed.
    Gone,
}

impl Graph {
    fn new(u: Tensor, x: &Tensor) -> Self {
        Graph::Kept { u, x: x.shallow_clone(), selected: Vec::new() }
    }

    fn select(&self, rows: &Tensor) -> Self {
        match self {
            Graph::Closed => Graph::Closed,
            Graph::Gone => Graph::Gone,
            Graph::Kept { u, x, selected } => Graph::Kept {
                u: tch::with_grad(|| u.index_select(0, rows)),
                x: x.shallow_clone(),
                selected: selected.iter().chain([rows]).map(Tensor::shallow_clone).collect(),
            },
        }
    }
}

impl Evaluation {
    /// From a closed form: x `[n, d]`, U `[n]`, ∇U `[n, d]`.
    pub fn new(x: Tensor, u: Tensor, grad: Tensor) -> Self {
        Evaluation { x, u, grad, kept: None, graph: Graph::Closed }
    }

    /// By one forward and one backward pass; the graph through θ is kept.
    pub fn autograd<E: Energy + ?Sized>(e: &E, x: &Tensor) -> Self {
        let leaf = x.detach().set_requires_grad(true);
        let (graph, mut g) = tch::with_grad(|| {
            let u = e.energy(&leaf);
            let g = Tensor::run_backward(&[u.sum(u.kind())], &[&leaf], true, false);
            (u, g)
        });
        Evaluation {
            x: x.shallow_clone(),
            u: graph.detach(),
            grad: g.swap_remove(0),
            kept: None,
            graph: Graph::new(graph, x),
        }
    }

    /// Energies alone, with the graph through θ: what the data term of the loss needs.
    pub fn energy_only<E: Energy + ?Sized>(e: &E, x: &Tensor) -> Self {
        let graph = tch::with_grad(|| e.energy(x));
        Evaluation {
            x: x.shallow_clone(),
            u: graph.detach(),
            grad: Tensor::new(),
            kept: None,
            graph: Graph::new(graph, x),
        }
    }

    /// ∇U at x, `[n, d]`.
    pub fn grad(&self) -> &Tensor {
        &self.grad
    }

    /// The same with the velocity b at x, `[n, d]`, kept beside it.
    #[must_use]
    pub fn with_drift(self, b: Tensor) -> Self {
        Evaluation { kept: Some(b), ..self }
    }

    /// b at x under the parameters of this point, `[n, d]`, where a flow's kernel has evaluated it.
    pub fn drift(&self) -> Option<&Tensor> {
        self.kept.as_ref()
    }

    /// The same with an RBM's hidden inputs a at x, `[n, d_h]`, kept beside it.
    #[must_use]
    pub fn with_input(self, a: Tensor) -> Self {
        Evaluation { kept: Some(a), ..self }
    }

    /// a at x under the parameters of this point, `[n, d_h]`, where an RBM has computed it.
    pub fn input(&self) -> Option<&Tensor> {
        self.kept.as_ref()
    }

    /// What the model or path keeps for each row, whatever it is.
    pub(crate) fn kept(&self) -> Option<&Tensor> {
        self.kept.as_ref()
    }

    /// The same energies and the same graph through θ, with positions, gradients and what is kept in other coordinates.
    pub(crate) fn replaced(self, x: Tensor, grad: Tensor, kept: Option<Tensor>) -> Self {
        Evaluation { x, grad, kept, ..self }
    }

    /// The same with other energies, which differ by what does not depend on θ.
    pub(crate) fn with_energies(self, u: Tensor) -> Self {
        Evaluation { u, ..self }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.x.size()[0] as usize
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the graph out, leaving the numbers.
    pub fn take_graph(&mut self) -> Option<Tensor> {
        if !matches!(self.graph, Graph::Kept { .. }) {
            return None;
        }
        match std::mem::replace(&mut self.graph, Graph::Gone) {
            Graph::Kept { u, .. } => Some(u),
            Graph::Closed | Graph::Gone => None,
        }
    }

    /// Whether a θ-gradient here costs a further forward pass.
    pub(crate) fn graph_is_gone(&self) -> bool {
        matches!(self.graph, Graph::Gone)
    }

    /// The rows named by `ancestors` `[m]`: *everything* cached per walker is permuted together.
    #[must_use]
    pub fn select(&self, ancestors: &Tensor) -> Evaluation {
        let pick = |t: &Tensor| if t.defined() { t.index_select(0, ancestors) } else { Tensor::new() };
        Evaluation {
            x: pick(&self.x),
            u: pick(&self.u),
            grad: pick(&self.grad),
            kept: self.kept.as_ref().map(pick),
            graph: self.graph.select(ancestors),
        }
    }

    /// The rows of several evaluations under the same parameters, one after the other; the graphs are dropped.
    pub(crate) fn cat(parts: &[Evaluation]) -> Evaluation {
        let all = |of: &dyn Fn(&Evaluation) -> Tensor| {
            let all: Vec<Tensor> = parts.iter().map(of).filter(Tensor::defined).collect();
            if all.is_empty() { Tensor::new() } else { Tensor::cat(&all, 0) }
        };
        let kept: Option<Vec<&Tensor>> = parts.iter().map(Evaluation::kept).collect();
        let closed = parts.iter().all(|p| matches!(p.graph, Graph::Closed));
        Evaluation {
            x: all(&|p| p.x.shallow_clone()),
            u: all(&|p| p.u.shallow_clone()),
            grad: all(&|p| p.grad.shallow_clone()),
            kept: kept.filter(|k| !k.is_empty()).map(|k| Tensor::cat(&k, 0)),
            graph: if closed { Graph::Closed } else { Graph::Gone },
        }
    }

    /// Writes all of it but the graph, for which the rows are written where it began.
    pub(crate) fn save(&self, to: &mut Checkpoint, name: &str) -> Result<()> {
        to.put(format!("{name}.x"), &self.x);
        to.put(format!("{name}.u"), &self.u);
        for (part, t) in [("grad", Some(&self.grad)), ("kept", self.kept.as_ref())] {
            if let Some(t) = t.filter(|t| t.defined()) {
                to.put(format!("{name}.{part}"), t);
            }
        }
        let graph = match &self.graph {
            Graph::Closed => "closed",
            Graph::Gone => "gone",
            Graph::Kept { x, selected, .. } => {
                // the rows themselves are there already unless some were selected
                if !selected.is_empty() {
                    to.put(format!("{name}.graph.x"), x);
                }
                for (i, rows) in selected.iter().enumerate() {
                    to.put(format!("{name}.graph.rows.{i}"), rows);
                }
                "kept"
            }
        };
        to.put_json(&format!("{name}.graph"), &graph)
    }

    /// Restores what [`save`](Evaluation::save) wrote, on the given device; `evaluate` makes a graph again, with the bits that it
    /// had.
    pub(crate) fn restore(
        from: &Checkpoint,
        name: &str,
        device: Device,
        evaluate: impl Fn(&Tensor) -> Evaluation,
    ) -> Result<Self> {
        let get = |part: &str| Ok::<_, Error>(from.get(&format!("{name}.{part}"))?.to_device(device));
        let find = |part: &str| from.find(&format!("{name}.{part}")).map(|t| t.to_device(device));
        let (x, u) = (get("x")?, get("u")?);
        if x.dim() != 2 || u.size() != [x.size()[0]] {
            let expected = format!("energies of {:?} rows", x.size().first());
            return Err(Error::Shape { name: "checkpoint", got: u.size(), expected });
        }
        let graph = match from.json::<String>(&format!("{name}.graph"))?.as_str() {
            "closed" => Graph::Closed,
            "kept" => {
                let mut graph = evaluate(&find("graph.x").unwrap_or_else(|| x.shallow_clone())).graph;
                for rows in (0..).map_while(|i| find(&format!("graph.rows.{i}"))) {
                    graph = graph.select(&rows);
                }
                graph
            }
            _ => Graph::Gone,
        };
        Ok(Evaluation { x, u, grad: find("grad").unwrap_or_default(), kept: find("kept"), graph })
    }

    /// Rows of `self` where `mask` `[n]` is true, else of `other`; the graphs are dropped.
    pub(crate) fn mix(self, mask: &Tensor, other: &Evaluation) -> Evaluation {
        let wide = mask.unsqueeze(-1);
        Evaluation {
            x: self.x.where_self(&wide, &other.x),
            u: self.u.where_self(mask, &other.u),
            grad: if self.grad.defined() { self.grad.where_self(&wide, &other.grad) } else { Tensor::new() },
            kept: self.kept.as_ref().zip(other.kept.as_ref()).map(|(a, b)| a.where_self(&wide, b)),
            graph: if matches!(self.graph, Graph::Closed) { Graph::Closed } else { Graph::Gone },
        }
    }
}
