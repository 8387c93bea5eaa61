import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Java's consumer as a member of a group. Arguments: brokers, group, topic, and either the class
 * names of the assignors or "consumer" for the group protocol in which the broker assigns. It
 * prints how many partitions it owns when that changes, and leaves when its input ends.
 */
public class Member {
  public static void main(String[] args) throws Exception {
    Properties p = new Properties();
    p.put("bootstrap.servers", args[0]);
    p.put("group.id", args[1]);
    p.put("key.deserializer", ByteArrayDeserializer.class.getName());
    p.put("value.deserializer", ByteArrayDeserializer.class.getName());
    p.put("enable.auto.commit", "false");
    p.put("auto.offset.reset", "earliest");
    if (args[3].equals("consumer")) {
      p.put("group.protocol", "consumer");
    } else {
      p.put("partition.assignment.strategy", args[3]);
      p.put("session.timeout.ms", "10000");
      p.put("heartbeat.interval.ms", "300");
    }
    KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(p);
    AtomicBoolean ends = new AtomicBoolean();
    Thread input = new Thread(() -> {
      try {
        while (System.in.read() >= 0) {}
      } catch (java.io.IOException e) {
        // as at its end
      }
      ends.set(true);
      consumer.wakeup();
    });
    input.setDaemon(true);
    input.start();
    consumer.subscribe(List.of(args[2]), new ConsumerRebalanceListener() {
      public void onPartitionsAssigned(Collection<TopicPartition> parts) {
        System.out.println("owned " + consumer.assignment().size());
      }

      public void onPartitionsRevoked(Collection<TopicPartition> parts) {
        System.out.println("owned " + (consumer.assignment().size() - parts.size()));
      }
    });
    try {
      while (!ends.get()) {
        consumer.poll(Duration.ofMillis(200));
      }
    } catch (WakeupException e) {
      // it is to end
    } finally {
      consumer.close(Duration.ofSeconds(5));
    }
  }
}
