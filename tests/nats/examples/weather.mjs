import { connect } from "@nats-io/transport-node";

const client = await connect({ servers: process.argv[2] });
const weather = client.subscribe("weather.>");
client.publish("weather.graz", "19.5");

for await (const message of weather) {
  console.log(message.subject, message.string());
}
