import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/**
 * JSON to an exponentially weighted z-score per key to anomalies, exactly once, on Flink: one slot in this process, state on the
 * heap, a checkpoint every 100 ms, which is what commits.
 *
 * <p>Arguments: brokers, input, output, folder, alpha, threshold, warm-up. Says "ready" when it starts.
 */
public final class FlinkAnomalies {
    private FlinkAnomalies() {}

    /** A record of the input. */
    public static final class Measured {
        public long ts;
        public String key;
        public double value;
    }

    /** Mean and variance of a key. */
    public static final class Ewma {
        public double mean;
        public double variance;
        public int records;

        /** The score of a value, before it is learned; less than zero while it is too early to say. */
        double score(double value, double alpha, int warmup) {
            if (records == 0) {
                mean = value;
                records = 1;
                return -1;
            }
            double distance = value - mean;
            double score = distance == 0 ? 0 : Math.abs(distance) / Math.sqrt(variance);
            boolean isWarm = records >= warmup;
            double step = alpha * distance;
            mean += step;
            variance = (1 - alpha) * (variance + distance * step);
            records++;
            return isWarm ? score : -1;
        }
    }

    /** Parses. */
    public static final class Parse implements KafkaRecordDeserializationSchema<Measured> {
        private transient JsonFactory json;

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Measured> out) throws IOException {
            if (json == null) {
                json = new JsonFactory();
            }
            Measured measured = new Measured();
            try (JsonParser parser = json.createParser(record.value())) {
                parser.nextToken();
                while (parser.nextToken() == JsonToken.FIELD_NAME) {
                    String field = parser.currentName();
                    parser.nextToken();
                    switch (field) {
                        case "ts" -> measured.ts = parser.getLongValue();
                        case "key" -> measured.key = parser.getText();
                        case "value" -> measured.value = parser.getDoubleValue();
                        default -> parser.skipChildren();
                    }
                }
            }
            out.collect(measured);
        }

        @Override
        public TypeInformation<Measured> getProducedType() {
            return TypeInformation.of(Measured.class);
        }
    }

    /** Detects. */
    public static final class Detect extends KeyedProcessFunction<String, Measured, String> {
        private final double alpha;
        private final double threshold;
        private final int warmup;
        private transient ValueState<Ewma> state;

        Detect(double alpha, double threshold, int warmup) {
            this.alpha = alpha;
            this.threshold = threshold;
            this.warmup = warmup;
        }

        @Override
        public void open(OpenContext context) {
            state = getRuntimeContext().getState(new ValueStateDescriptor<>("ewma", Ewma.class));
        }

        @Override
        public void processElement(Measured measured, Context context, Collector<String> out) throws IOException {
            Ewma ewma = state.value();
            if (ewma == null) {
                ewma = new Ewma();
            }
            double score = ewma.score(measured.value, alpha, warmup);
            state.update(ewma);
            if (score >= threshold) {
                out.collect("{\"ts\":" + measured.ts + ",\"key\":\"" + measured.key + "\",\"value\":" + measured.value
                        + ",\"score\":" + score + "}");
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        Configuration settings = new Configuration();
        settings.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        settings.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, "file://" + arguments[3]);
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(1, settings);
        environment.enableCheckpointing(100, CheckpointingMode.EXACTLY_ONCE);
        // What it parses it may hand on as it is.
        environment.getConfig().enableObjectReuse();
        KafkaSource<Measured> source = KafkaSource.<Measured>builder()
                .setBootstrapServers(arguments[0])
                .setTopics(arguments[1])
                .setGroupId(arguments[2])
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setDeserializer(new Parse())
                .build();
        SerializationSchema<String> utf8 = text -> text.getBytes(StandardCharsets.UTF_8);
        KafkaSink<String> sink = KafkaSink.<String>builder()
                .setBootstrapServers(arguments[0])
                .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
                .setTransactionalIdPrefix(arguments[2])
                // Its default is more than brokers allow.
                .setProperty("transaction.timeout.ms", "60000")
                .setRecordSerializer(KafkaRecordSerializationSchema.<String>builder()
                        .setTopic(arguments[2])
                        .setValueSerializationSchema(utf8)
                        .build())
                .build();
        environment.fromSource(source, WatermarkStrategy.noWatermarks(), "input")
                .keyBy(measured -> measured.key)
                .process(new Detect(
                        Double.parseDouble(arguments[4]), Double.parseDouble(arguments[5]), Integer.parseInt(arguments[6])))
                .sinkTo(sink);
        System.err.println("ready");
        environment.execute(arguments[2]);
    }
}
