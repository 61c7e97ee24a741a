import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * JSON to an exponentially weighted z-score per key to anomalies, exactly once, on Kafka Streams: one thread, commits every
 * 100 ms (its default for exactly once), state in memory with a cache before its changelog. A key's messages are in one
 * partition, so nothing is partitioned anew.
 *
 * <p>Arguments: brokers, input, output, application, folder, alpha, threshold, warm-up. Says "ready" when it reads.
 */
public final class Anomalies {
    private static final JsonFactory JSON = new JsonFactory();

    private Anomalies() {}

    /** Mean and variance of a key. */
    private static final class Ewma {
        double mean;
        double variance;
        int records;

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

    private static Serde<Ewma> serde() {
        return Serdes.serdeFrom(
                (topic, ewma) -> ewma == null ? null : ByteBuffer.allocate(20)
                        .putDouble(ewma.mean).putDouble(ewma.variance).putInt(ewma.records).array(),
                (topic, bytes) -> {
                    if (bytes == null) {
                        return null;
                    }
                    ByteBuffer buffer = ByteBuffer.wrap(bytes);
                    Ewma ewma = new Ewma();
                    ewma.mean = buffer.getDouble();
                    ewma.variance = buffer.getDouble();
                    ewma.records = buffer.getInt();
                    return ewma;
                });
    }

    /** Detects. */
    private static final class Detect implements Processor<byte[], byte[], byte[], byte[]> {
        private final double alpha;
        private final double threshold;
        private final int warmup;
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<String, Ewma> store;

        Detect(double alpha, double threshold, int warmup) {
            this.alpha = alpha;
            this.threshold = threshold;
            this.warmup = warmup;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            store = context.getStateStore("ewma");
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            long ts = 0;
            String key = null;
            double value = 0;
            try (JsonParser parser = JSON.createParser(record.value())) {
                parser.nextToken();
                while (parser.nextToken() == JsonToken.FIELD_NAME) {
                    String field = parser.currentName();
                    parser.nextToken();
                    switch (field) {
                        case "ts" -> ts = parser.getLongValue();
                        case "key" -> key = parser.getText();
                        case "value" -> value = parser.getDoubleValue();
                        default -> parser.skipChildren();
                    }
                }
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
            Ewma ewma = store.get(key);
            if (ewma == null) {
                ewma = new Ewma();
            }
            double score = ewma.score(value, alpha, warmup);
            store.put(key, ewma);
            if (score >= threshold) {
                String said = "{\"ts\":" + ts + ",\"key\":\"" + key + "\",\"value\":" + value + ",\"score\":" + score + "}";
                // Its time is when it was written, as that of what tidewatch writes.
                context.forward(record.withValue(said.getBytes(StandardCharsets.UTF_8))
                        .withTimestamp(System.currentTimeMillis()));
            }
        }
    }

    public static void main(String[] arguments) throws InterruptedException {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[3]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        double alpha = Double.parseDouble(arguments[5]);
        double threshold = Double.parseDouble(arguments[6]);
        int warmup = Integer.parseInt(arguments[7]);

        Serde<byte[]> bytes = Serdes.ByteArray();
        Topology topology = new Topology();
        topology.addSource("input", bytes.deserializer(), bytes.deserializer(), arguments[1]);
        topology.addProcessor("detect", () -> new Detect(alpha, threshold, warmup), "input");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore("ewma"), Serdes.String(), serde())
                        .withCachingEnabled(),
                "detect");
        topology.addSink("output", arguments[2], bytes.serializer(), bytes.serializer(), "detect");

        KafkaStreams streams = new KafkaStreams(topology, settings);
        streams.setStateListener((state, before) -> {
            if (state == KafkaStreams.State.RUNNING) {
                System.err.println("ready");
            } else if (state == KafkaStreams.State.ERROR) {
                Runtime.getRuntime().halt(1);
            }
        });
        CountDownLatch end = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close(Duration.ofSeconds(10));
            end.countDown();
        }));
        streams.start();
        end.await();
    }
}
