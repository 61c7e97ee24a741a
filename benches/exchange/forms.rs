//! The containers under comparison: how rows come in, travel and come out.

use std::ops::{Add, Range};

use tidewatch_dataflows::flow::by_key_group;
use tidewatch_dataflows::record::{Offset, Origin, RowBatch};
use tidewatch_dataflows::{EventTime, PartitionId};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{ExchangeCore, ParallelizationContract};
use timely::dataflow::channels::ContainerBytes;
use timely::Container;

use crate::column::{Column, ColumnBuilder};
use crate::rows::{row, Abomonation, Bincode, Coded, Row, RowReference};

/// How many rows there were, and a sum over all that they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    rows: u64,
    check: u64,
}

impl Sum {
    #[inline]
    pub(crate) fn of(rows: impl Iterator<Item = Row>) -> Self {
        rows.fold(Self::default(), |sum, Row { time, key, value }| {
            let check = (time as u64 ^ key).wrapping_add(value.to_bits().rotate_left(7));
            Self { rows: sum.rows + 1, check: sum.check.wrapping_add(check) }
        })
    }
}

impl Add for Sum {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, check: self.check.wrapping_add(other.check) }
    }
}

/// A container for rows.
pub(crate) trait Form: 'static {
    /// What it is called in the table.
    const NAME: &'static str;
    type Container: Container + ContainerBytes + Clone + Send;

    /// Sends each row to the worker of its key.
    fn pact() -> impl ParallelizationContract<u64, Self::Container>;

    /// Makes `container` hold the rows of these numbers.
    fn fill(container: &mut Self::Container, numbers: Range<u64>);

    fn sum(container: &Self::Container) -> Sum;
}

/// The container of tidewatch.
pub(crate) struct RowBatches;

impl Form for RowBatches {
    const NAME: &'static str = "RowBatch";
    type Container = RowBatch;

    fn pact() -> impl ParallelizationContract<u64, RowBatch> {
        by_key_group()
    }

    fn fill(container: &mut RowBatch, numbers: Range<u64>) {
        container.reset(Origin { partition: PartitionId::of("exchange", "0"), dictionary: 0 }, 1, Offset(0));
        for Row { time, key, value } in numbers.map(row) {
            // The halves of the key are a key and an offset.
            let (number, offset) = (bytemuck::cast((key >> 32) as u32), Offset(key & u64::from(u32::MAX)));
            container.push(EventTime::from_micros(time), number, offset, &[value]);
        }
    }

    fn sum(container: &RowBatch) -> Sum {
        Sum::of(container.rows().map(|(head, values)| {
            let number: u32 = bytemuck::cast(head.key);
            let key = u64::from(number) << 32 | u64::from(head.offset);
            Row { time: head.time.micros(), key, value: values[0] }
        }))
    }
}

/// Rows in bincode.
pub(crate) struct Bincoded;

impl Form for Bincoded {
    const NAME: &'static str = "bincode";
    type Container = Coded<Bincode>;

    fn pact() -> impl ParallelizationContract<u64, Coded<Bincode>> {
        ExchangeCore::<CapacityContainerBuilder<Coded<Bincode>>, _>::new_core(|row: &Row| row.worker())
    }

    fn fill(container: &mut Coded<Bincode>, numbers: Range<u64>) {
        container.fill(numbers);
    }

    fn sum(container: &Coded<Bincode>) -> Sum {
        Sum::of(container.rows().iter().copied())
    }
}

/// Rows in abomonation.
pub(crate) struct Abomonated;

impl Form for Abomonated {
    const NAME: &'static str = "abomonation";
    type Container = Coded<Abomonation>;

    fn pact() -> impl ParallelizationContract<u64, Coded<Abomonation>> {
        ExchangeCore::<CapacityContainerBuilder<Coded<Abomonation>>, _>::new_core(|row: &Row| row.worker())
    }

    fn fill(container: &mut Coded<Abomonation>, numbers: Range<u64>) {
        container.fill(numbers);
    }

    fn sum(container: &Coded<Abomonation>) -> Sum {
        Sum::of(container.rows().iter().copied())
    }
}

/// Columns, one for each field.
pub(crate) struct Columns;

type RowColumns = <Row as columnar::Columnar>::Container;

impl Form for Columns {
    const NAME: &'static str = "columnar";
    type Container = Column<RowColumns>;

    fn pact() -> impl ParallelizationContract<u64, Column<RowColumns>> {
        let worker = |row: &RowReference<&i64, &u64, &f64>| Row::worker_of(*row.key);
        ExchangeCore::<ColumnBuilder<RowColumns>, _>::new_core(worker)
    }

    fn fill(container: &mut Column<RowColumns>, numbers: Range<u64>) {
        container.fill(numbers.map(row));
    }

    fn sum(container: &Column<RowColumns>) -> Sum {
        Sum::of(container.rows().map(|row| Row { time: *row.time, key: *row.key, value: *row.value }))
    }
}
