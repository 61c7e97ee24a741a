//! A container of columns, as timely's example `columnar` has it, but with as many rows as the other containers.

use std::collections::VecDeque;
use std::io::Write;

use columnar::bytes::{indexed, stash::Stash};
use columnar::common::IterOwn;
use columnar::{ContainerBytes as Columns, Index, Len, Push};
use timely::bytes::arc::Bytes;
use timely::container::{ContainerBuilder, DrainContainer, LengthPreservingContainerBuilder, PushInto};
use timely::dataflow::channels::ContainerBytes;
use timely::Accountable;

use crate::rows::BATCH;

/// Columns, built here or read in place from the bytes that were received.
#[derive(Clone, Default)]
pub(crate) struct Column<C>(Stash<C, Bytes>);

impl<C: Columns> Column<C> {
    /// Makes it hold these rows.
    pub(crate) fn fill<T>(&mut self, rows: impl Iterator<Item = T>)
    where
        C: for<'a> Push<&'a T>,
    {
        let mut columns = C::default();
        rows.for_each(|row| columns.push(&row));
        self.0 = Stash::Typed(columns);
    }

    /// The rows.
    pub(crate) fn rows(&self) -> IterOwn<C::Borrowed<'_>> {
        self.0.borrow().into_index_iter()
    }
}

impl<C: Columns> Accountable for Column<C> {
    fn record_count(&self) -> i64 {
        self.0.borrow().len() as i64
    }
}

impl<C: Columns> DrainContainer for Column<C> {
    type Item<'a> = C::Ref<'a>;
    type DrainIter<'a> = IterOwn<C::Borrowed<'a>>;
    fn drain(&mut self) -> Self::DrainIter<'_> {
        self.rows()
    }
}

impl<C: Columns> ContainerBytes for Column<C> {
    fn from_bytes(bytes: Bytes) -> Self {
        Self(Stash::try_from_bytes(bytes).expect("the other process has written it"))
    }
    fn length_in_bytes(&self) -> usize {
        self.0.length_in_bytes()
    }
    fn into_bytes<W: Write>(&self, writer: &mut W) {
        self.0.write_bytes(writer).expect("timely sized the buffer by its length");
    }
}

/// Gathers rows in columns, and has a container of them whenever there are enough.
#[derive(Default)]
pub(crate) struct ColumnBuilder<C> {
    current: C,
    rows: u64,
    pending: VecDeque<Column<C>>,
    given: Option<Column<C>>,
}

impl<C: Columns, T> PushInto<T> for ColumnBuilder<C>
where
    C: Push<T>,
{
    #[inline]
    fn push_into(&mut self, row: T) {
        self.current.push(row);
        self.rows += 1;
        if self.rows == BATCH {
            let columns = self.current.borrow();
            let mut words = Vec::with_capacity(indexed::length_in_words(&columns));
            indexed::encode(&mut words, &columns);
            self.pending.push_back(Column(Stash::Align(words.into_boxed_slice().into())));
            self.current.clear();
            self.rows = 0;
        }
    }
}

impl<C: Columns> ContainerBuilder for ColumnBuilder<C> {
    type Container = Column<C>;

    fn extract(&mut self) -> Option<&mut Self::Container> {
        self.given = Some(self.pending.pop_front()?);
        self.given.as_mut()
    }

    fn finish(&mut self) -> Option<&mut Self::Container> {
        if self.rows > 0 {
            self.pending.push_back(Column(Stash::Typed(std::mem::take(&mut self.current))));
            self.rows = 0;
        }
        self.extract()
    }
}

impl<C: Columns> LengthPreservingContainerBuilder for ColumnBuilder<C> {}
