//! Spells amounts of memory for people.

/// Returns the amount in the largest unit that fits, to a tenth: `64 MiB`, `1.5 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((size, unit)) = UNITS.into_iter().find(|(size, _)| bytes >= *size) else {
        return format!("{bytes} B");
    };
    let (whole, tenth) = (bytes / size, bytes % size * 10 / size);
    if tenth == 0 { format!("{whole} {unit}") } else { format!("{whole}.{tenth} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn the_greatest_unit_that_fits_is_taken() {
        for (amount, spelled) in
            [(1000, "1000 B"), (64 << 20, "64 MiB"), (3 << 29, "1.5 GiB"), (1 << 40, "1 TiB")]
        {
            assert_eq!(bytes(amount), spelled);
        }
    }
}
