//! Spells amounts of memory for people.

/// The units, the largest first.
pub(crate) const UNITS: [(u64, &str); 6] =
    [(1 << 60, "Ei"), (1 << 50, "Pi"), (1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];

/// Returns the amount for people: `64 MiB`, `1.5 GiB`, `1280 MiB`. It is exact to a tenth of the unit, which
/// is the largest one that tells the whole amount in at most four digits before the point, else the largest
/// one that fits.
pub fn bytes(bytes: u64) -> String {
    let fits = |(size, _): &&(u64, &str)| bytes >= *size;
    let is_exact =
        |(size, _): &&(u64, &str)| bytes / size < 10_000 && (bytes % size * 10).is_multiple_of(*size);
    let units = || UNITS.iter().filter(fits);
    let Some((size, unit)) = units().find(is_exact).or_else(|| units().next()) else {
        return format!("{bytes} B");
    };
    let (whole, tenth) = (bytes / size, bytes % size * 10 / size);
    if tenth == 0 { format!("{whole} {unit}B") } else { format!("{whole}.{tenth} {unit}B") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_the_whole_amount_where_few_digits_tell_it() {
        for (amount, spelled) in [
            (1000, "1000 B"),
            (64 << 20, "64 MiB"),
            (3 << 29, "1.5 GiB"),
            (1 << 40, "1 TiB"),
            (1280 << 20, "1280 MiB"),
            (1152 << 20, "1152 MiB"),
            (1000 << 20, "1000 MiB"),
            (1_000_000_000, "953.6 MiB"),
            (10_240_000_000, "9.5 GiB"),
            (1 << 60, "1 EiB"),
        ] {
            assert_eq!(bytes(amount), spelled);
        }
    }
}
