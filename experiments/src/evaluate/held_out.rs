//! Hold images out of training, and average over them with the classes weighted as in the training data.

use jarzynski::data::Dataset;
use jarzynski::tch::Tensor;
use jarzynski::{Error, Estimate, Result};

/// The first `counts[i]` images of each class `labels[i]`, to train on, and all others of these classes.
///
/// # Errors
/// As [`Dataset::select`]; `Param` where a class has no image left to hold out.
pub(crate) fn hold_out(data: &Dataset, labels: &[i64], counts: &[usize]) -> Result<(Dataset, Dataset)> {
    let training = data.select(labels, counts)?;
    let mut left = counts.to_vec();
    let (mut rows, mut classes) = (Vec::new(), Vec::new());
    for (row, label) in data.labels.iter().flatten().enumerate() {
        match labels.iter().position(|l| l == label) {
            Some(class) if left[class] > 0 => left[class] -= 1,
            Some(_) => {
                rows.push(row as i64);
                classes.push(*label);
            }
            None => {}
        }
    }
    if let Some(empty) = labels.iter().find(|l| !classes.contains(l)) {
        let expected = format!("fewer than all images of class {empty}: some are held out to evaluate the models");
        return Err(Error::param("counts", format!("{counts:?}"), expected));
    }
    let x = data.x.index_select(0, &Tensor::from_slice(&rows).to_device(data.x.device()));
    Ok((training, Dataset::new(format!("{}, held out", data.name), x)?.with_labels(classes)?))
}

/// Σ_c share_c · mean of v over class c, with the standard error that the images give it; shares are proportional to
/// `counts`, as in the training data.
pub(crate) fn mean_by_class(v: &[f64], classes: &[i64], labels: &[i64], counts: &[usize]) -> Estimate {
    let total: usize = counts.iter().sum();
    let (mut value, mut square) = (0.0, 0.0);
    for (label, count) in labels.iter().zip(counts) {
        let of: Vec<f64> = v.iter().zip(classes).filter(|(_, class)| *class == label).map(|(v, _)| *v).collect();
        let (mean, se) = jarzynski::io::frame::mean_se(&of);
        let share = *count as f64 / total as f64;
        value += share * mean;
        square += (share * se).powi(2);
    }
    Estimate::new(value, square.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_in_one_part_and_classes_keep_their_shares() -> Result<()> {
        let x = Tensor::from_slice(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).view([7, 1]);
        let data = Dataset::new("seven", x)?.with_labels(vec![1, 2, 1, 9, 2, 1, 2])?;
        let (training, held_out) = hold_out(&data, &[1, 2], &[2, 1])?;
        let numbers = |d: &Dataset| Vec::<f64>::try_from(d.x.view(-1)).unwrap();
        assert_eq!((numbers(&training), numbers(&held_out)), (vec![0.0, 1.0, 2.0], vec![4.0, 5.0, 6.0]));
        let classes = held_out.labels.clone().unwrap();
        assert_eq!(classes, [2, 1, 2]);
        // 2/3 · 5 + 1/3 · (4 + 6)/2; one image of class 1 gives no error
        let mean = mean_by_class(&numbers(&held_out), &classes, &[1, 2], &[2, 1]);
        assert!((mean.value - 5.0).abs() < 1e-15 && mean.se.is_nan(), "{mean:?}");
        let mean = mean_by_class(&[1.0, 3.0, 10.0, 14.0], &[1, 1, 2, 2], &[1, 2], &[3, 1]);
        // 3/4 · 2 + 1/4 · 12, standard errors 1 and 2
        assert!((mean.value - 4.5).abs() < 1e-15 && (mean.se - 0.75f64.hypot(0.5)).abs() < 1e-15, "{mean:?}");
        let e = hold_out(&data, &[1, 2], &[3, 1]).unwrap_err().to_string();
        assert!(e.contains("class 1"), "{e}");
        Ok(())
    }
}
