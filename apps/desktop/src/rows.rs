//! Rows of what is drawn, changed in place.

use slint::{Model as _, ModelRc, SharedString, VecModel};

/// Makes the rows these, touching only those that differ.
pub fn put<T: Clone + PartialEq + 'static>(rows: &VecModel<T>, new: Vec<T>) {
    for _ in new.len()..rows.row_count() {
        rows.remove(rows.row_count() - 1);
    }
    for (index, row) in new.into_iter().enumerate() {
        match rows.row_data(index) {
            None => rows.push(row),
            Some(old) if old != row => rows.set_row_data(index, row),
            Some(_) => {}
        }
    }
}

/// Texts that do not change.
pub fn texts<T: Into<SharedString>>(texts: impl IntoIterator<Item = T>) -> ModelRc<SharedString> {
    ModelRc::new(VecModel::from_iter(texts.into_iter().map(Into::into)))
}

/// A place in a list, as Slint counts; -1 for none.
pub fn place(index: Option<usize>) -> i32 {
    index.and_then(|index| i32::try_from(index).ok()).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_what_they_shall_be() {
        let rows = VecModel::from(vec![1, 2, 3]);
        for new in [vec![1, 5, 3], vec![1], vec![], vec![4, 4]] {
            put(&rows, new.clone());
            assert_eq!(rows.iter().collect::<Vec<_>>(), new);
        }
        assert_eq!((place(Some(2)), place(None)), (2, -1));
    }
}
