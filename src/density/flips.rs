//! Compare the energies of rows of zeros and ones with those of their neighbours, in which one bit is another.

use crate::density::Model;
use tch::{Kind, Tensor};

/// What turns energy differences Δ `[rows, units]` in f64 into weights of that shape; `None` where no gradient is wanted.
pub type Weigh<'a> = dyn FnMut(&Tensor) -> Option<Tensor> + 'a;

/// Numbers among the neighbours of one block of rows.
const BLOCK: i64 = 1 << 20;

/// [`Model::flips`] by the energies of all neighbours.
pub(crate) fn flips_by_energy<M: Model + ?Sized>(
    model: &M,
    x: &Tensor,
    units: &[i64],
    weigh: &mut Weigh,
) -> Vec<Tensor> {
    let (d, k) = (x.size()[1], units.len() as i64);
    let which = Tensor::from_slice(units).to_device(x.device()).one_hot(d).to_kind(x.kind());
    let mut total = Vec::new();
    for rows in x.split((BLOCK / (k * d)).max(1), 0) {
        let r = rows.size()[0];
        let wide = rows.unsqueeze(1);
        let neighbours: Tensor = &wide + &which * (1.0 - &wide * 2.0);
        let mut at = model.evaluate_data(&Tensor::cat(&[neighbours.view([r * k, d]), rows], 0));
        let u = at.u.to_kind(Kind::Double);
        let delta = u.narrow(0, 0, r * k).view([r, k]) - u.narrow(0, r * k, r).unsqueeze(-1);
        if let Some(w) = weigh(&delta) {
            let own = -w.sum_dim_intlist(-1, false, Kind::Double);
            add(&mut total, model.param_grad(&mut at, &Tensor::cat(&[w.reshape([r * k]), own], 0)));
        }
    }
    total
}

/// Adds the gradients of one block to those of the others.
pub(crate) fn add(total: &mut Vec<Tensor>, grads: Vec<Tensor>) {
    if total.is_empty() {
        *total = grads;
    } else {
        total.iter_mut().zip(grads).for_each(|(sum, g)| *sum = &*sum + g);
    }
}
