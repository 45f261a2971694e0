//! The table `log_embeddings`: each pattern's vector, read as it is asked for.

use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringViewArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    catalog::streaming::StreamingTable,
    common::Result,
    datasource::TableProvider,
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchReceiverStreamBuilder, streaming::PartitionStream},
};

use super::{DIMENSIONS, PatternId, Slot, Vectors, format_id};

/// Its name in SQL.
pub(crate) const NAME: &str = "log_embeddings";
/// Rows of a batch: 1.5 MiB of floats.
const BATCH: usize = 1024;

/// The table. Where an engine has no search by meaning, there are no rows.
///
/// # Errors
/// None but of the engine itself.
pub(crate) fn table(slot: Slot) -> Result<Arc<dyn TableProvider>> {
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    let schema = Arc::new(Schema::new(vec![
        Field::new("pattern_id", DataType::Utf8View, false),
        Field::new("embedding", DataType::FixedSizeList(item, DIMENSIONS as i32), false),
    ]));
    let rows = Arc::new(Embeddings { schema: Arc::clone(&schema), slot });
    Ok(Arc::new(StreamingTable::try_new(schema, vec![rows])?))
}

#[derive(Debug)]
struct Embeddings {
    schema: SchemaRef,
    slot: Slot,
}

impl PartitionStream for Embeddings {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), 2);
        if let Some(meaning) = self.slot.get().map(Arc::clone) {
            let (schema, send) = (Arc::clone(&self.schema), stream.tx());
            stream.spawn_blocking(move || {
                let mut vectors = meaning.vectors().map_err(|error| DataFusionError::External(Box::new(error)))?;
                while let Some(batch) = next(&schema, &mut vectors)? {
                    // Where nobody listens any more, nothing more is read.
                    if send.blocking_send(Ok(batch)).is_err() {
                        break;
                    }
                }
                Ok(())
            });
        }
        stream.build()
    }
}

/// The next rows; `None` at the end.
fn next(schema: &SchemaRef, vectors: &mut Vectors) -> Result<Option<RecordBatch>> {
    let read = vectors.by_ref().take(BATCH).collect::<Result<Vec<(PatternId, Vec<f32>)>, _>>();
    let read = read.map_err(|error| DataFusionError::External(Box::new(error)))?;
    if read.is_empty() {
        return Ok(None);
    }
    let ids: ArrayRef = Arc::new(StringViewArray::from_iter_values(read.iter().map(|(id, _)| format_id(*id))));
    let floats = Arc::new(Float32Array::from_iter_values(read.into_iter().flat_map(|(_, vector)| vector)));
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    let embeddings: ArrayRef = Arc::new(FixedSizeListArray::try_new(item, DIMENSIONS as i32, floats, None)?);
    Ok(Some(RecordBatch::try_new(Arc::clone(schema), vec![ids, embeddings])?))
}
